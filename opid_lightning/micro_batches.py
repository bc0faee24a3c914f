"""The batches that an iteration is trained on."""

from __future__ import annotations

from torch.utils.data import DataLoader, Dataset

from opid_lightning.learning.batching import collate, totals_of
from opid_lightning.ranks import Ranks
from opid_lightning.types import Batch, Experience, Layout


class MicroBatches(Dataset[Batch]):
    """An experience in the order this rank trains on it, collated when asked for."""

    def __init__(
        self, experience: Experience, ranks: Ranks, pad_id: int, temperature: float, layout: Layout
    ) -> None:
        self.samples = experience.samples
        self.pad_id = pad_id
        self.temperature = temperature
        self.layout = layout
        self.num_of_step = len(ranks.share(experience.plan[0]))  # of every one of them
        self.parts = [
            (rows, totals_of([experience.samples[i] for m in step for i in m], len(step)))
            for step in experience.plan
            for rows in ranks.share(step)
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Batch:
        rows, totals = self.parts[index]
        samples = [self.samples[i] for i in rows]
        return collate(samples, totals, self.pad_id, self.temperature, self.layout)


def loader(dataset: Dataset[Batch]) -> DataLoader[Batch]:
    """Unshuffled: a shuffling DataLoader draws from a generator that no checkpoint holds."""
    return DataLoader(dataset, batch_size=None, shuffle=False)
