"""The evolutionary search finds what was planted, keeps its parents, and goes on where it stopped."""

import copy

import pytest

from recsys.compression.evolution import Evolution, Population, evolve

PLANTED = (3, 0, 2, 5, 1, 4, 0, 2, 3, 5, 1, 2)


def distance(candidate):
    return -sum(abs(one - other) for one, other in zip(candidate, PLANTED, strict=True))


def search(settings=None, population=None, seed=0, fitness=distance, **others):
    return evolve([6] * len(PLANTED), fitness, settings or Evolution(), population or Population(), seed, **others)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_optimum_is_found_among_two_billion(seed):
    population = Population()
    assert search(Evolution(num_iterations=60), population, seed) == PLANTED
    assert len(population.fitness) < 1_300
    assert population.best == sorted(population.best)


def test_parents_stay_as_they_are_and_nothing_is_measured_twice():
    asked = []

    def fitness(candidate):
        asked.append(candidate)
        return distance(candidate)

    population = Population()
    search(Evolution(num_iterations=8), population, fitness=fitness)
    assert len(asked) == len(set(asked))
    assert all(population.fitness[candidate] == distance(candidate) for candidate in asked)


def test_a_search_that_stopped_goes_on_as_it_would_have():
    stopped = []
    whole = Population()
    search(Evolution(num_iterations=10), whole, after_each=lambda each: stopped.append(copy.deepcopy(each)))
    assert [each.num_done for each in stopped] == list(range(11))
    again = stopped[4]
    search(Evolution(num_iterations=10), again)
    assert again == whole


def test_it_begins_with_what_it_is_given():
    population = Population()
    assert search(Evolution(num_iterations=1), population, start=[PLANTED]) == PLANTED


@pytest.mark.parametrize("name", ["num_iterations", "num_parents", "num_mutations", "num_crossovers"])
def test_bad_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        Evolution(**{name: 0})
    with pytest.raises(ValueError, match="mutation_probability"):
        Evolution(mutation_probability=0)
