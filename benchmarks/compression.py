"""What each method of `recsys compress` loses, over checkpoints of one config that were trained with several seeds.

    python benchmarks/compression.py seed-0.ckpt seed-1.ckpt seed-2.ckpt -c configs/movielens.yaml \
        --data.init_args.path data/ml-1m --update docs/results.md --name "MovieLens-1M, DCNv2"

Prints a table in Markdown, and with --update puts it into a page, between `<!-- compression: NAME -->` and
`<!-- end -->`: of each method and budget the bytes, the mean of the first metric on the test split, and the mean and
the worst difference to the trained tables. `auto` is what `--method auto` chooses by the val split for each checkpoint,
and is followed by how far its mean stays behind that of the one method whose mean is best on the test split.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean

import machine
import page_tables

from recsys.commands.describe import load_collection, read_checkpoint
from recsys.compression.counts import counts_of
from recsys.compression.methods import METHODS
from recsys.compression.model import TrainedModel
from recsys.compression.trials import Trial, Trials, best
from recsys.configuration.lightning_cli import RecsysCLI

BUDGETS = (0.5, 0.1, 0.01)
HEADER = (
    "| method | budget | bytes | test | difference | worst | auto behind the best |",
    "|--|--:|--:|--:|--:|--:|--:|",
)
Found = dict[tuple[float, str], list[Trial]]


def trials_of(checkpoint: Path, command: list[str], methods: list[str]) -> list[tuple[float, list[Trial]]]:
    """All methods at every budget that they can meet."""
    cli = RecsysCLI.launch(command, run=False)
    load_collection(cli.model, read_checkpoint(checkpoint), checkpoint)
    bf16 = str(cli.trainer.precision).startswith("bf16")
    model = TrainedModel(cli.model, cli.datamodule, counts_of(cli.model, cli.datamodule), bf16=bf16)
    kinds = [METHODS[name]() for name in methods]
    tables, runner = model.tables(any(kind.needs_column_values for kind in kinds)), Trials(model)
    return [
        (
            budget,
            [each for each in runner.run(kinds, tables, int(budget * model.full_bytes)) if isinstance(each, Trial)],
        )
        for budget in BUDGETS
    ]


def line(budget: float, name: str, trials: list[Trial], behind: float | None) -> str:
    """A row of the table."""
    metric = next(iter(trials[0].test))
    differences = [trial.test[metric].difference for trial in trials]
    cells = [
        f"`{name}`",
        f"{budget:.0%}",
        f"{mean(trial.num_bytes for trial in trials):,.0f}",
        f"{mean(trial.test[metric].second for trial in trials):.5f}",
        f"{mean(differences):+.5f}",
        f"{min(differences):+.5f}",
        "" if behind is None else f"{behind:.5f}",
    ]
    return f"| {' | '.join(cells)} |"


def behind(found: Found, budget: float) -> float:
    """By how much the mean of auto is below that of the single method with the best mean."""
    means = {
        name: mean(trial.test[next(iter(trial.test))].second for trial in trials)
        for (other, name), trials in found.items()
        if other == budget and len(trials) == len(found[budget, "auto"])
    }
    auto = means.pop("auto")
    return max(means.values()) - auto


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table there")
    parser.add_argument("--name", default="", help="of the table in the page")
    arguments, others = parser.parse_known_args()
    command = [word for config in arguments.config for word in ("-c", config)] + others
    found: Found = defaultdict(list)
    for checkpoint in arguments.checkpoints:
        for budget, trials in trials_of(checkpoint, command, arguments.methods):
            metric = next(iter(trials[0].val))
            found[budget, "auto"].append(best(trials, metric))
            for trial in trials:
                found[budget, trial.method].append(trial)
    print(machine.line())
    rows = [
        line(budget, name, trials, behind(found, budget) if name == "auto" else None)
        for (budget, name), trials in sorted(found.items(), key=lambda item: -item[0][0])
    ]
    table = "\n".join([*HEADER, *rows])
    print(table)
    if arguments.update:
        page_tables.put(arguments.update, f"compression: {arguments.name}", table)


if __name__ == "__main__":
    main()
