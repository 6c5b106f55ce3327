"""A graph shaped like code: modules of 25 functions each, which call one another by a power law."""

from __future__ import annotations

import random
from collections.abc import Iterator

from models.graph import Label, NodeFact, Part, Ref, RelationshipFact, Type

FUNCTIONS = 25
SEED = 20_261_128


def parts(nodes: int, *, changed: frozenset[int] = frozenset()) -> Iterator[Part]:
    """`nodes` nodes as one part a module; those of the modules in `changed` have one function at another line."""
    chance = random.Random(SEED)
    modules = nodes // (FUNCTIONS + 1)
    functions = modules * FUNCTIONS

    def name(number: int) -> str:
        module, at = divmod(number, FUNCTIONS)
        return f"shop.area_{module % 97}.module_{module}.handle_{at}"

    # So that the much-called are anywhere in it, and not all in the first modules.
    step = next(one for one in range(functions // 3, functions) if one % 5 and one % 2 and functions % one)
    for module in range(modules):
        path = f"shop/area_{module % 97}/module_{module}.py"
        ref = Ref(Label.module, f"shop.area_{module % 97}.module_{module}")
        facts = [NodeFact(ref, {"name": f"module_{module}", "path": path})]
        edges = []
        for at in range(FUNCTIONS):
            number = module * FUNCTIONS + at
            own = Ref(Label.function, name(number))
            line = 10 + 20 * at + (module in changed and at == 7)
            properties = {
                "name": f"handle_{at}",
                "path": path,
                "line": line,
                "signature": f"(self, order: Order, {at}) -> None",
            }
            facts.append(NodeFact(own, properties))
            edges.append(RelationshipFact(Type.contains, ref, own))
            near = module * FUNCTIONS + chance.randrange(FUNCTIONS)
            far = int(chance.paretovariate(0.6)) * step % functions
            edges.extend(
                RelationshipFact(Type.calls, own, Ref(Label.function, name(target)), {"lines": (line + 3,)})
                for target in sorted({near, far})
            )
        yield Part(f"code:shop/{ref.key}", facts, edges, mark="1")


def some_functions(nodes: int, count: int) -> list[Ref]:
    """Functions to ask about, by chance."""
    chance = random.Random(SEED + 1)
    modules = nodes // (FUNCTIONS + 1)
    found = []
    for _ in range(count):
        module, at = chance.randrange(modules), chance.randrange(FUNCTIONS)
        found.append(Ref(Label.function, f"shop.area_{module % 97}.module_{module}.handle_{at}"))
    return found
