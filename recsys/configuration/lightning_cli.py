"""LightningCLI with this project's classes, defaults and links."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.strategies import StrategyRegistry

import recsys.data
import recsys.models
import recsys.tables
import recsys.tasks
from recsys.checkpoints.io import FolderCheckpointIO
from recsys.checkpoints.settings import run_settings
from recsys.configuration.classes import own_classes
from recsys.configuration.config_files import ConfigFile, explicit_checkpoint
from recsys.configuration.quiet import keep_quiet
from recsys.configuration.refusals import check_settings, refusals_in_a_sentence
from recsys.configuration.run_folder import ClaimedTensorBoardLogger, CSVLoggerBeside
from recsys.configuration.stops import codes_of_signals
from recsys.configuration.suggestions import explain
from recsys.configuration.weights import check_weights
from recsys.data import SessionDataModule
from recsys.hardware import has_bf16_hardware
from recsys.sharding.lost_processes import is_of_a_lost_process, lost_process
from recsys.tasks.resumption import nothing_left, without_a_step
from recsys.tasks.session import SessionTask


class RecsysCLI(LightningCLI):
    """fit, validate, test and predict of any task on any data, from YAML files."""

    @classmethod
    def launch(cls, arguments: Sequence[str] | None, run: bool = True) -> RecsysCLI:
        """Parse the arguments, build everything and run the command; without `run`, the arguments have no command."""
        keep_quiet()
        try:
            with codes_of_signals(), refusals_in_a_sentence():
                return cls._launch(arguments, run)
        except RuntimeError as error:
            if not is_of_a_lost_process(error):
                raise
            print(f"error: {lost_process(error)}", file=sys.stderr)
            raise SystemExit(1) from None

    @classmethod
    def _launch(cls, arguments: Sequence[str] | None, run: bool) -> RecsysCLI:
        return cls(
            recsys.tasks.TableTask,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"exit_on_error": False},
            # Rows have optimizers of their own: one of the command line would leave them untrained.
            auto_configure_optimizers=False,
            args=None if arguments is None else list(arguments),
            run=run,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose config files are read by us, and whose options are written out."""
        parser = LightningArgumentParser(**kwargs, allow_abbrev=False)
        parser.add_argument("-c", "--config", action=ConfigFile, help="config file; a later one overrides an earlier")
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands; checkpoints are read as tensors and plain values, whatever is asked."""
        return {name: skipped | {"weights_only"} for name, skipped in LightningCLI.subcommands().items()}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument(
            "--remap",
            type=str | None,
            default=None,
            help="prepared folder that --ckpt_path was trained on: rows are carried over by the values of ids",
        )
        if subcommand != "fit":
            parser.add_argument(
                "--untrained", type=bool, default=False, help="go on without --ckpt_path, with random weights"
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; an explicit --ckpt_path wins over that of any file, wherever it stands."""
        super().parse_arguments(parser, args)
        command = self.config.get("subcommand")
        checkpoint = explicit_checkpoint(sys.argv[1:] if args is None else args)
        if command is not None and checkpoint is not None:
            self.config[command]["ckpt_path"] = checkpoint

    def _parse_ckpt_path(self) -> None:
        """Leave the checkpoint alone: the config decides what is built, and our reader is the only one."""

    def before_instantiate_classes(self) -> None:
        """Refuse a task on data of another kind, and to score with weights that were not loaded.

        Raises:
            ValueError: naming what does not fit, or is missing.
        """
        chosen = self.config if self.subcommand is None else self.config[self.subcommand]
        if not hasattr(chosen.get("trainer"), "get"):
            raise ValueError(
                f"trainer must hold keys and values, got {chosen.get('trainer')}; leave it out or fill it."
            )
        _check_kinds(chosen)
        if self.subcommand is None:
            return
        check_weights(self.subcommand, chosen)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """What the trainer's method gets; a task that carries rows over loads the checkpoint itself."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        folder = self._get(self.config_init, "remap")
        if folder is not None:
            self.model.carried_over = (Path(kwargs.pop("ckpt_path")), Path(folder))
        return kwargs

    def instantiate_classes(self) -> None:
        """Build everything; the task keeps the settings that its checkpoints are to know."""
        super().instantiate_classes()
        chosen = self.config if self.subcommand is None else self.config[self.subcommand]
        self.model.settings = run_settings(chosen.as_dict())

    def fit(self, **arguments: Any) -> None:
        """Train, unless the checkpoint to go on from has done it all: then no folder of a run is made.

        Where that owes a validation, a run makes it up and nothing else.
        """
        checkpoint, trainer = arguments.get("ckpt_path"), self.trainer
        if checkpoint is not None and Path(checkpoint).exists():
            left = nothing_left(checkpoint, trainer.max_epochs, trainer.max_steps, self.model.check_fits)
            if left is not None:
                if trainer.is_global_zero:
                    print(left.said)
                if left.owes_validation:
                    with without_a_step(trainer):
                        trainer.fit(**arguments)
                return
        trainer.fit(**arguments)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The task learns the columns from the data module; bf16 may be insisted on."""
        parser.add_argument(
            "--precision_fallback",
            type=bool,
            default=True,
            help="train in 32-true where bf16 is asked of a CPU without bf16 hardware, which is several times faster",
        )
        parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")

    def after_fit(self) -> None:
        """Say where the best weights are."""
        if self.trainer.is_global_zero:
            for line in _kept(self.trainer.checkpoint_callbacks):
                print(line)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer with the summary, samples per second, predictions and logs that users expect."""
        settings = self._get(self.config_init, "trainer")
        _check_strategy(settings.get("strategy"))
        check_settings(settings)
        falls_back = self._get(self.config_init, "precision_fallback")
        root = settings.get("default_root_dir") or "."
        if settings.get("logger") in (None, True):
            tensorboard = ClaimedTensorBoardLogger(root, default_hp_metric=False)
            kwargs["logger"] = [tensorboard, CSVLoggerBeside(tensorboard)]
        settled = {
            "callbacks": _callbacks(settings),
            "plugins": _plugins(settings),
            "precision": _usable(settings) if falls_back else settings.get("precision"),
            "enable_model_summary": False,
        }
        try:
            return super().instantiate_trainer(**{**kwargs, **settled})
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


def _callbacks(settings: Any) -> list[Callback]:
    """Those asked for, and ours of the kinds that were not."""
    own: list[Callback] = [
        recsys.tasks.TableSummary(),
        recsys.tasks.Throughput(),
        recsys.tasks.PredictionWriter(),
        recsys.tasks.BaselineMetrics(),
    ]
    if settings.get("enable_progress_bar") is not False:
        own.append(RichProgressBar())
    given = list(settings.get("callbacks") or [])
    kinds = {type(callback) for callback in given}
    return [*given, *(callback for callback in own if type(callback) not in kinds)]


def _kept(callbacks: Sequence[Callback]) -> list[str]:
    """A line for the best checkpoint of each callback that looks at a metric."""
    return [
        f"best {each.monitor} {float(each.best_model_score):.4f}: {each.best_model_path}"
        for each in callbacks
        if isinstance(each, ModelCheckpoint) and each.best_model_score is not None
    ]


def _plugins(settings: Any) -> list[Any]:
    """Those asked for, with one that writes checkpoints."""
    given = settings.get("plugins") or []
    plugins = list(given) if isinstance(given, list) else [given]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(FolderCheckpointIO())
    return plugins


def run(arguments: Sequence[str] | None) -> RecsysCLI:
    """Parse, build and run; None takes the arguments of the process.

    Raises:
        ValueError: on a mistake in the configuration, saying what was meant.
    """
    return RecsysCLI.launch(arguments)


def _check_kinds(chosen: Any) -> None:
    """Refuse a task of clicks on sessions, and the other way round.

    Raises:
        ValueError: naming both classes, and the data that would fit.
    """
    names = [str((chosen.get(key) or {}).get("class_path", "")) for key in ("model", "data")]
    task, data = (own_classes().get(name.rpartition(".")[2]) for name in names)
    if task is None or data is None:
        return
    for kind, module in ((recsys.tasks.CTRTask, recsys.data.CTRDataModule), (SessionTask, SessionDataModule)):
        if issubclass(task, kind) and not issubclass(data, module):
            raise ValueError(
                f"model {task.__name__} does not read data of {data.__name__}; give data: {module.__name__}, or "
                "another task."
            )


def _check_strategy(strategy: Any) -> None:
    """Refuse a name that no strategy has.

    Raises:
        ValueError: with the nearest name.
    """
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(strategy, str) and strategy not in known:
        raise ValueError(explain(f"there is no trainer.strategy '{strategy}'", strategy, known))


def _usable(settings: Any) -> str:
    """The precision asked for, or 32-true with a word why where bf16 would be slower than float32."""
    precision = str(settings.get("precision") or "32-true")
    on_cpu = settings.get("accelerator") == "cpu" or not torch.cuda.is_available()
    if precision.startswith("bf16") and on_cpu and not has_bf16_hardware():
        print(
            "precision: this CPU has no bf16 hardware, where bf16 is slower than float32; training in 32-true "
            "(--precision_fallback false insists on bf16)"
        )
        return "32-true"
    return precision
