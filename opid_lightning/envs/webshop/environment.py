"""WebShop as an Environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from opid_lightning.envs.tagged_action import Validity, read_tagged_action
from opid_lightning.envs.webshop import pages
from opid_lightning.envs.webshop.generation import generation_plan
from opid_lightning.envs.webshop.goals import Goal, GoalKind, goal_of, num_goals
from opid_lightning.envs.webshop.nouns import Nouns, nouns_by
from opid_lightning.envs.webshop.products.catalogue import MAX_HITS, Catalogue, Plan, build
from opid_lightning.envs.webshop.products.files import OriginalFiles, find_files
from opid_lightning.envs.webshop.products.product import Product
from opid_lightning.envs.webshop.prompt import write_brief_prompt, write_prompt
from opid_lightning.envs.webshop.reward import Score, score
from opid_lightning.envs.webshop.session import WebShopSession
from opid_lightning.envs.window import PromptStyle
from opid_lightning.files.user_cache import cache_folder
from opid_lightning.protocols import Session, Split
from opid_lightning.types import Action, Observation, PromptText, Task, Turn
from opid_lightning.value_checks import LARGEST_REWARD, check_range, check_words

FALLBACK_LENGTH = 20  # characters of a response without tags that become its action

_log = logging.getLogger(__name__)


@dataclass
class WebShop:
    """Find a product that meets a wish, choose its options, and buy it."""

    max_steps: int = 15  # an episode ends after so many actions
    history_length: int = 2  # past turns that a prompt shows
    # wording of the prompt; brief: what model=small_webshop reads
    prompt_style: PromptStyle = "instructive"
    win_reward: float = 1.0  # reward of a purchase with score 1
    # full: only for a score of 1; score: in proportion to the score
    reward: Literal["full", "score"] = "full"
    validity: Validity = "format"  # what makes an action valid
    data: str | None = None  # a folder with the original files; else a catalogue is generated
    products_file: str | None = None  # instead of data's items_shuffle*.json
    attributes_file: str | None = None  # instead of data's items_ins_v2*.json
    human_file: str | None = None  # instead of data's items_human_ins*.json
    # which wishes: generated from products, written by people, or both
    goals: GoalKind = "synthetic"
    goals_seed: int = 233  # seed of price limits, and of prices drawn from a range
    # which options a wish names; with values, every wish can be met
    options_rule: Literal["reference", "values"] = "reference"
    nouns: str = "auto"  # words, or the name of a spaCy model; auto: a model, if installed
    results_per_page: int = 10  # products on a page of search results
    # characters of a description and the like on a page; null: all
    page_characters: int | None = 8000
    shows_attributes: bool = False  # a button for them, as in the original on request
    num_products: int = 1000  # size of the generated catalogue
    catalogue_seed: int = 0  # seed of the generated catalogue
    cache: str | None = None  # where catalogues are kept; null: the user's cache folder

    def __post_init__(self) -> None:
        least = {"max_steps": 1, "history_length": 0, "results_per_page": 1, "num_products": 10}
        for name, bound in least.items():
            check_range(f"env.{name}", getattr(self, name), at_least=bound)
        if self.page_characters is not None:
            check_range("env.page_characters", self.page_characters, at_least=100)
        if self.results_per_page > MAX_HITS:
            raise ValueError(
                f"env.results_per_page is {self.results_per_page}, expected at most {MAX_HITS}: "
                "a search finds no more"
            )
        check_range("env.win_reward", self.win_reward, above=0, at_most=LARGEST_REWARD)
        check_words("env", self)
        self._check_goals()

    def _check_goals(self) -> None:
        if self.is_generated and self.goals != "synthetic":
            raise ValueError(
                f"env.goals is {self.goals!r}, but nobody asked for anything in a generated "
                "catalogue: set env.data to the folder of the original files"
            )

    @property
    def is_generated(self) -> bool:
        """Whether the catalogue is generated and not read from files."""
        return self.data is None and self.products_file is None

    def tasks(self, split: Split) -> Sequence[Task]:
        """The goals of a split; raises ValueError where its products state none."""
        tasks = self._catalogue.tasks(split, self.goals)
        if not tasks:
            raise ValueError(
                f"there are no {self.goals} goals for {split} in {self._folder}: their products "
                "need an instruction with attributes. See env.goals and env.data"
            )
        return tasks

    def task_from(self, name: str | Path) -> Task:
        """The task with this id, in whichever split."""
        product_id, _, number = str(name).rpartition("-")
        known = {source.product_id: source for source in self._catalogue.sources(self.goals)}
        source = known.get(product_id)
        if source is None or not number.isdigit() or int(number) >= source.count:
            raise ValueError(
                f"there is no task {str(name)!r}: expected PRODUCT-NUMBER, as in "
                f"{self.tasks('train')[0].id!r}"
            )
        return Task(str(name), source.kind, (product_id, int(number)))

    def open(self) -> Session:
        """A visit to the shared catalogue."""
        return WebShopSession(
            self._catalogue,
            self.goal,
            self._judge,
            self._reward_of,
            self.results_per_page,
            self.shows_attributes,
            self.page_characters,
        )

    def goal(self, task: Task) -> Goal:
        """The goal behind a task, with the options and the price that are asked for."""
        product_id, number = task.payload
        product = self._catalogue.products.get(product_id)
        assert number < num_goals(product, self.goals)
        return goal_of(product, number, self.goals, self.goals_seed)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """The prompt in the chosen style, with at most `history_length` turns."""
        write = write_brief_prompt if self.prompt_style == "brief" else write_prompt
        return write(goal, history, observation, self.history_length)

    def action(self, response: str, observation: Observation) -> Action:
        """Reads `<action>`.

        Unless `validity="format"`, one that the page does not offer is invalid.
        """
        action = read_tagged_action(response, FALLBACK_LENGTH)
        is_listed = action.text in observation.admissible or (
            pages.QUERY in observation.admissible and action.text.startswith("search[")
        )
        return action if is_listed or self.validity == "format" else replace(action, is_valid=False)

    def _judge(self, goal: Goal, product: Product, chosen: Mapping[str, str]) -> Score:
        price = product.price(self.goals_seed)
        same_form = self.options_rule == "values"
        return score(goal, product, price, chosen, self._nouns, same_form)

    def _reward_of(self, value: float) -> float:
        return self.win_reward * (value if self.reward == "score" else float(value == 1.0))

    @property
    def _nouns(self) -> Nouns:
        """In a generated catalogue the words of a title are known, and need no model."""
        return nouns_by("words" if self.is_generated and self.nouns == "auto" else self.nouns)

    @property
    def _catalogue(self) -> Catalogue:
        # A connection to SQLite must not be carried into a forked process.
        return _opened(self._folder, os.getpid())

    @cached_property
    def _folder(self) -> Path:
        root = cache_folder("webshop", self.cache)
        if self.is_generated:
            return build(generation_plan(self.num_products, self.catalogue_seed), root)
        files = find_files(self.data, self.products_file, self.attributes_file, self.human_file)
        if self.goals == "human" and files.human is None:
            raise ValueError(
                f"env.goals is 'human', but there is no items_human_ins*.json in {self.data}: name "
                "it with env.human_file=PATH, or set env.goals=synthetic"
            )
        return build(original_plan(files), root)


def original_plan(files: OriginalFiles) -> Plan:
    """How the catalogue of the original files is built and told apart from others."""
    return Plan(files.products.stem, files.stamp, files.read)


@cache
def _opened(folder: Path, process: int) -> Catalogue:
    _log.info("process %d shops in %s", process, folder)
    return Catalogue(folder)
