"""`trainer.strategy: torchrec`: rows sharded over processes under Lightning."""
