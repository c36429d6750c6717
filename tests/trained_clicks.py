"""A small model of clicks, trained by the command line, for the tests of what commands do with checkpoints."""

from pathlib import Path

from recsys.configuration.lightning_cli import RecsysCLI

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]


def train_clicks(prepared, folder):
    """The best checkpoint of an epoch, and the words of the command that goes with it."""
    words = ["-c", str(CONFIGS / "criteo.yaml"), f"--data.init_args.path={prepared}", *QUIET]
    one = ["--trainer.max_epochs=1", f"--trainer.default_root_dir={folder}"]
    cli = RecsysCLI.launch(["fit", *words, *one])
    return Path(cli.trainer.checkpoint_callback.best_model_path), words
