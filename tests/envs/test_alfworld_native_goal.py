"""Goals spelt out for a room say what the formula says, read word by word."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.alfworld.native.goal import read_goal
from opid_lightning.envs.alfworld.native.problem import Problem, read_problem
from opid_lightning.envs.alfworld.native.state import State

TYPES = {
    "agent1": "agent",
    "here": "location",
    "there": "location",
    "shelf": "receptacle",
    "fridge": "receptacle",
    "mug": "object",
    "cup": "object",
    "apple": "object",
    "mugtype": "otype",
}
ARGUMENTS = {  # of each predicate, what may stand for them: a thing, or a variable of its kind
    "ishot": (("mug", "?o", "?p"),),
    "iscool": (("apple", "?o", "?p"),),
    "heatable": (("?o", "?p"),),
    "opened": (("fridge", "?r"),),
    "openable": (("?r",),),
    "inreceptacle": (("mug", "?o", "?p"), ("shelf", "?r")),
    "receptacleatlocation": (("?r",), ("here", "?l")),
    "atlocation": (("agent1",), ("here", "?l")),
    "objecttype": (("?o", "?p"), ("mugtype",)),
    "holds": (("agent1",), ("?o", "?p")),
    "=": (("?o", "mug"), ("?p", "cup")),
}
KINDS = {"?o": "object", "?p": "object", "?r": "receptacle", "?l": "location"}


def fact(predicate: str) -> st.SearchStrategy[list[str]]:
    words = [st.sampled_from(choices) for choices in ARGUMENTS[predicate]]
    return st.tuples(*words).map(lambda chosen: [predicate, *chosen])


facts = st.sampled_from(sorted(ARGUMENTS)).flatmap(fact)
variables = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3, unique=True)
formulas = st.recursive(
    facts,
    lambda part: st.one_of(
        st.tuples(st.sampled_from(("and", "or")), part, part, part).map(list),
        part.map(lambda inner: ["not", inner]),
        st.tuples(st.just("imply"), part, part).map(list),
        st.tuples(st.sampled_from(("exists", "forall")), variables, part).map(
            lambda quantified: [quantified[0], typed(quantified[1]), quantified[2]]
        ),
    ),
    max_leaves=8,
)


def typed(names: list[str]) -> list[str]:
    return [word for name in names for word in (name, "-", KINDS[name])]


def possible_facts() -> list[tuple[str, ...]]:
    """Every well-typed fact that the formulas may ask for."""
    domains = {name: things(kind) for name, kind in KINDS.items()}
    return sorted(
        {
            (predicate, *words)
            for predicate, choices in ARGUMENTS.items()
            if predicate not in ("=", "atlocation")
            for words in product(
                *(
                    {w for choice in place for w in domains.get(choice, [choice])}
                    for place in choices
                )
            )
        }
    )


def things(kind: str) -> list[str]:
    return [name for name, of in TYPES.items() if kind in (of, "object")]


def means(formula: list, true: frozenset, bound: dict[str, str]) -> bool:
    """The formula read word by word, every variable tried with every thing."""
    word, *parts = formula
    if word in ("exists", "forall"):
        names = parts[0][::3]
        ways = product(*(things(KINDS[name]) for name in names))
        results = [
            means(parts[1], true, bound | dict(zip(names, way, strict=True))) for way in ways
        ]
        return any(results) if word == "exists" else all(results)
    if word in ("and", "or", "not", "imply"):
        results = [means(part, true, bound) for part in parts]
        return {
            "and": lambda: all(results),
            "or": lambda: any(results),
            "not": lambda: not results[0],
            "imply": lambda: results[-1] or not results[0],
        }[word]()
    words = [bound.get(part, part) for part in parts]
    return words[0] == words[1] if word == "=" else (word, *words) in true


@given(st.sets(st.sampled_from(possible_facts())), st.sampled_from(["here", "there"]), formulas)
def test_a_goal_says_what_its_formula_says(said, location, formula):
    true = frozenset(said) | {("atlocation", "agent1", location)}
    goal = read_goal(Problem(TYPES, true, formula))
    assert goal.is_met(State.at_start(true)) == means(formula, true, {})


@pytest.mark.parametrize(
    ("goal", "asks"),
    [
        ("(exists (?o - object) (and (isHot ?o) (holds agent1 ?o)))", {"ishot", "holds"}),
        ("(exists (?o - object) (and (heatable ?o) (not (isClean ?o))))", {"isclean"}),
    ],
)
def test_a_goal_names_the_facts_it_asks_for(goal, asks):
    problem = read_problem(
        "(define (problem p) (:domain alfred) (:objects agent1 - agent mug - object)"
        f"(:init (heatable mug)) (:goal {goal}))"
    )
    assert read_goal(problem).predicates == asks
