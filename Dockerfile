# One image for every process of the platform: `lama serve prefect|worker|gateway|mcp`, `lama setup ...`, or `lama up`.
FROM python:3.11-slim-bookworm

# Extras of pyproject.toml to install: "cluster" for several API servers, "cluster,models" for nodes that host models.
ARG EXTRAS=cluster

RUN useradd --create-home --uid 1000 lama
WORKDIR /opt/lama
COPY pyproject.toml constraints.txt ./
COPY lama lama
COPY services services
COPY deployments deployments
COPY flows flows
COPY tasks tasks
COPY blocks blocks
COPY models models
COPY prefect.yaml README.md ./
RUN pip install --no-cache-dir -c constraints.txt setuptools \
    && pip install --no-cache-dir --no-build-isolation -c constraints.txt -e ".[${EXTRAS}]"

# There already, and lama's: a volume takes both from here, and would be root's otherwise.
RUN install -d -m 700 -o lama -g lama /home/lama/.lama
USER lama
ENV LAMA_HOME=/home/lama/.lama PYTHONUNBUFFERED=1
VOLUME /home/lama/.lama
EXPOSE 4200 8765 8766
ENTRYPOINT ["lama"]
CMD ["up"]
