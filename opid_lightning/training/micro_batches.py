"""The batches that an iteration is trained on."""

from __future__ import annotations

from torch.utils.data import DataLoader, Dataset

from opid_lightning.method.batching import collate, totals_of
from opid_lightning.ranks import Ranks
from opid_lightning.types import Batch, Experience, Layout, Totals


class MicroBatches(Dataset[Batch]):
    """An experience in the order this rank trains on it, collated when asked for."""

    def __init__(
        self,
        experience: Experience,
        ranks: Ranks,
        pad_id: int,
        max_response: int,
        layout: Layout,
    ) -> None:
        self.samples = experience.samples
        self.pad_id = pad_id
        self.temperature = experience.temperature
        self.layout = layout
        self.num_of_step = len(ranks.share(experience.plan[0]))  # of every one of them
        self.parts = [
            (rows, totals)
            for step in experience.plan
            for totals in [self._totals(step, max_response)]
            for rows in ranks.share(step)
        ]

    def _totals(self, step: tuple[tuple[int, ...], ...], max_response: int) -> Totals:
        rows = [self.samples[index] for micro_batch in step for index in micro_batch]
        return totals_of(rows, len(step), max_response)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Batch:
        rows, totals = self.parts[index]
        samples = [self.samples[i] for i in rows]
        return collate(samples, totals, self.pad_id, self.temperature, self.layout)


def loader(dataset: Dataset[Batch]) -> DataLoader[Batch]:
    """Unshuffled: a shuffling DataLoader draws from a generator that no checkpoint holds."""
    return DataLoader(dataset, batch_size=None, shuffle=False)
