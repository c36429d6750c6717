"""An evolutionary search for the best of many combinations of few choices each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

Candidate = tuple[int, ...]
"""A choice for each place."""


@dataclass(frozen=True)
class Evolution:
    """How candidates come from candidates.

    Source: Lyu et al., "OptEmbed" (arXiv:2208.04482), algorithm 1, with its settings.

    Differs from the authors' program: parents stay as they are, children mix their parents' places uniformly, what was
    measured is not measured again, and the best so far always stays among the parents.

    Args:
        num_iterations: generations.
        num_parents: the best of all so far, from which the next come.
        num_mutations: children of one parent in each generation.
        num_crossovers: children of two.
        mutation_probability: of each place.
    """

    num_iterations: int = 30
    num_parents: int = 15
    num_mutations: int = 10
    num_crossovers: int = 10
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing would evolve."""
        for name in ("num_iterations", "num_parents", "num_mutations", "num_crossovers"):
            if getattr(self, name) < 1:
                raise ValueError(f"Evolution: {name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.mutation_probability <= 1:
            raise ValueError(f"Evolution: mutation_probability must be in (0, 1], got {self.mutation_probability}.")


@dataclass
class Population:
    """Everything that was measured, in order, and how far the search is.

    Args:
        fitness: of each candidate.
        num_done: generations.
        best: fitness of the best after each generation, the first being that of the candidates at the start.
    """

    fitness: dict[Candidate, float] = field(default_factory=dict)
    num_done: int = 0
    best: list[float] = field(default_factory=list)

    def winner(self) -> Candidate:
        """The best; of equal ones the first."""
        return max(self.fitness, key=lambda candidate: self.fitness[candidate])

    def parents(self, number: int) -> list[Candidate]:
        """The best ones, the first first."""
        return sorted(self.fitness, key=lambda candidate: -self.fitness[candidate])[:number]


def evolve(
    num_choices: Sequence[int],
    fitness: Callable[[Candidate], float],
    settings: Evolution,
    population: Population,
    seed: int,
    start: Sequence[Candidate] = (),
    after_each: Callable[[Population], None] = lambda population: None,
) -> Candidate:
    """Search until all generations are done; returns the best candidate.

    Args:
        num_choices: of each place.
        fitness: of a candidate, the higher the better; asked once for each.
        settings: of the search.
        population: what was measured before, which is added to; a search that stopped goes on as it would have.
        seed: of the random numbers of each generation.
        start: candidates to begin with, beside random ones.
        after_each: called after each generation, the one at the start too.
    """

    def measure(candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            if candidate not in population.fitness:
                population.fitness[candidate] = fitness(candidate)

    number = settings.num_mutations + settings.num_crossovers
    if not population.best:
        generator = torch.Generator().manual_seed(seed)
        measure([*start, *(_random(num_choices, generator) for _ in range(number))])
        population.best.append(population.fitness[population.winner()])
        after_each(population)
    while population.num_done < settings.num_iterations:
        # Of its own, so that it does not depend on how often the search has stopped.
        generator = torch.Generator().manual_seed(seed + 1 + population.num_done)
        parents = population.parents(settings.num_parents)
        children = [
            _mutated(_one_of(parents, generator), num_choices, settings.mutation_probability, generator)
            for _ in range(settings.num_mutations)
        ]
        children += [
            _crossed(_one_of(parents, generator), _one_of(parents, generator), generator)
            for _ in range(settings.num_crossovers)
        ]
        measure(children)
        population.num_done += 1
        population.best.append(population.fitness[population.winner()])
        after_each(population)
    return population.winner()


def _random(num_choices: Sequence[int], generator: torch.Generator) -> Candidate:
    return tuple(int(torch.randint(number, (), generator=generator)) for number in num_choices)


def _one_of(parents: Sequence[Candidate], generator: torch.Generator) -> Candidate:
    return parents[int(torch.randint(len(parents), (), generator=generator))]


def _mutated(
    parent: Candidate, num_choices: Sequence[int], probability: float, generator: torch.Generator
) -> Candidate:
    """Each place drawn anew with a probability, one of them in any case."""
    fresh = _random(num_choices, generator)
    changes = torch.rand(len(parent), generator=generator) < probability
    changes[int(torch.randint(len(parent), (), generator=generator))] = True
    return tuple(new if change else old for new, old, change in zip(fresh, parent, changes.tolist(), strict=True))


def _crossed(first: Candidate, second: Candidate, generator: torch.Generator) -> Candidate:
    """Each place of one parent or the other."""
    picks = torch.rand(len(first), generator=generator) < 0.5
    return tuple(one if pick else other for one, other, pick in zip(first, second, picks.tolist(), strict=True))
