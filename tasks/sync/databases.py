SIDECARS = ("-wal", "-shm", "-journal")
