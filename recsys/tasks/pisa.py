"""Training of PISA: sessions cut from histories, memory activations, and pairwise losses on whole sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data import SessionBatch, SessionDataModule
from recsys.data.sequences import Sequences
from recsys.losses import FullCrossEntropy, Loss, Sampler, Scoring, UniformSampler, read_once
from recsys.models.actr import Cooccurrence, Histories, spreading
from recsys.models.pisa import UserStates
from recsys.sharding.gathering import gather_rows
from recsys.tables import Lookup, TableOptimizer
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.actr_memory import Memory, Places
from recsys.tasks.base import OptimizerFactory
from recsys.tasks.describe import ItemCatalogue
from recsys.tasks.next_item import NextItemTask, SessionModelFactory
from recsys.tasks.session_checks import Needs
from recsys.tasks.tables import TableFactory, TableOptions

HISTORIES_AT_A_TIME = 16


def cut_sessions(batch: SessionBatch, gap: int, horizon: int) -> Histories:
    """Histories of users, cut where two events lie more than `gap` seconds apart.

    Args:
        batch: of users' events in time order.
        gap: seconds.
        horizon: seconds after a user's last event that stand for the time at which its next session begins.

    Raises:
        ValueError: if the events carry no times.
    """
    if batch.times is None:
        raise ValueError("PISATask cuts sessions by time; the data have no times.")
    is_event = batch.items != 0
    times = batch.times
    starts = torch.zeros_like(is_event)
    starts[:, 1:] = ((times[:, 1:] - times[:, :-1]) > gap) & is_event[:, 1:]
    sessions = starts.long().cumsum(1)
    last = times.gather(1, (batch.lengths - 1).clamp(min=0).unsqueeze(1))
    num_sessions = int(sessions.max()) + 1 if sessions.numel() else 1
    references = (last + horizon).expand(-1, num_sessions).clone()
    users, places = starts.nonzero(as_tuple=True)
    references[users, sessions[users, places] - 1] = times[users, places]
    return Histories(batch.items, sessions, times, references)


def pairwise_loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Bayesian personalised ranking: sum of -log sigmoid(query . (positive - negative)); [P, D] each -> scalar."""
    return F.softplus(-(queries * (positives - negatives)).sum(1)).sum()


class PISATask(NextItemTask):
    """Trains PISA on users' histories; every session is to be foretold from those before it.

    Items are scored with the user's state plus `long_term_weight` times its long-term taste. The paper trains the two
    apart, and a target session's own embedding beside them; a `loss` trains the very scores that rank instead. With a
    `memory_weight` memory is in these scores as it is, which the long-term taste only blurs. Times are needed.

    Args:
        model: factory of a PISA; receives (embedding_dim, max_length).
        schema: of the data; the command line takes it from the data module.
        embedding_dim: width D of every embedding.
        max_length: most sessions of a history.
        session_gap: seconds between events beyond which a new session begins.
        horizon: seconds from a user's last event to the time for which is recommended.
        long_term_weight: of the long-term taste, in the loss and in the scores.
        memory_weight: of memory in the scores of items a user has had (see recsys.tasks.actr_memory), with
            loss: FullCrossEntropy; 0, the paper's, leaves it out. About the number of items, times how much rather
            users repeat than explore.
        memory_succession: of what has followed a user's last item before, against the base level's 1, in that memory.
        loss: of the scores; by default the paper's pairwise losses, which the next three arguments describe.
        session_share: weight, in the loss, of the target session's own embedding against the user's state.
        cosine_share: weight of drawing the user's state to the target session's embedding, against ranking.
        sampler: of negatives, one for every item of a target session; by default uniform.
        scoring: see NextItemTask; only with a loss.
        tables: see NextItemTask.
        exact_up_to: see NextItemTask.
        table_options: see NextItemTask.
        table_optimizer: see NextItemTask.
        optimizer: of all dense parameters.
        warmup_steps: see NextItemTask.
        final_learning_rate_fraction: see NextItemTask.
        lookup: see NextItemTask.

    Raises:
        ValueError: if the settings do not fit the schema or each other.
    """

    def __init__(
        self,
        model: SessionModelFactory,
        schema: ItemCatalogue | None = None,
        embedding_dim: int = 64,
        max_length: int = 50,
        session_gap: int = 6 * 3600,
        horizon: int = 24 * 3600,
        long_term_weight: float = 0.5,
        memory_weight: float = 0.0,
        memory_succession: float = 0.0,
        loss: Loss | None = None,
        session_share: float = 0.9,
        cosine_share: float = 0.1,
        sampler: Sampler | None = None,
        scoring: Scoring | None = None,
        tables: dict[str, TableFactory] | None = None,
        exact_up_to: int = 0,
        table_options: dict[str, TableOptions] | None = None,
        table_optimizer: TableOptimizer | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        warmup_steps: int = 0,
        final_learning_rate_fraction: float = 1.0,
        lookup: type[Lookup] | None = None,
        clip_rows: bool = False,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
    ) -> None:
        super().__init__(
            model,
            schema,
            embedding_dim,
            max_length,
            loss=loss,
            scoring=scoring,
            tables=tables,
            exact_up_to=exact_up_to,
            table_options=table_options,
            table_optimizer=table_optimizer,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            final_learning_rate_fraction=final_learning_rate_fraction,
            lookup=lookup,
            clip_rows=clip_rows,
            budget_bytes=budget_bytes,
            budget_fraction=budget_fraction,
        )
        for name, value in (("session_share", session_share), ("cosine_share", cosine_share)):
            if not 0 <= value <= 1:
                raise ValueError(f"PISATask: {name} must be in [0, 1], got {value}.")
        if scoring is not None and loss is None:
            raise ValueError("PISATask: scoring needs a loss; the paper's pairwise losses are of dot products.")
        self._memory = self._make_memory(memory_weight, memory_succession, loss)
        self._trains_scores = loss is not None
        self._gap, self._horizon = session_gap, horizon
        self._long_term_weight = long_term_weight
        self._session_share, self._cosine_share = session_share, cosine_share
        self._sampler = sampler or UniformSampler(1, per_target=True)
        self.register_buffer("pairs", torch.empty(0, dtype=torch.int64))
        self.register_buffer("pair_values", torch.empty(0))

    def _make_memory(self, weight: float, succession: float, loss: Loss | None) -> Memory | None:
        for name, value in (("memory_weight", weight), ("memory_succession", succession)):
            if value < 0:
                raise ValueError(f"PISATask: {name} must be at least 0, got {value}.")
        if not weight:
            return None
        if not isinstance(loss, FullCrossEntropy) or loss.chunk_items < self.num_items:
            raise ValueError(
                f"PISATask: memory_weight={weight} needs loss: FullCrossEntropy with chunk_items of {self.num_items}, "
                f"all items, or more; got {type(loss).__name__}."
            )
        return Memory(weight, float(self.model.decay), succession)  # type: ignore[arg-type]

    def needs(self) -> Needs:
        """Times; max_length is of sessions, which may have any number of events."""
        times = "PISATask cuts sessions by time: prepare the data with times, or use NextItemTask"
        return replace(super().needs(), loss=self.loss if self._trains_scores else None, times=times, max_length=None)

    def on_train_start(self) -> None:
        """Count which items share sessions, in one pass over the training data, unless a checkpoint has them."""
        super().on_train_start()
        if len(self.get_buffer("pairs")):
            return
        data = getattr(self.trainer, "datamodule", None)
        batches: Any = self.trainer.train_dataloader
        if isinstance(data, SessionDataModule):
            # A loader's windows overlap and cut sessions in two: histories are counted whole where they are at hand.
            batches = self._histories(data.sequences("train"))
        self.count_pairs(batches)

    def _histories(self, sequences: Sequences) -> Iterator[SessionBatch]:
        """This process' share of the histories, whole, a few at a time."""
        rows = np.arange(self.global_rank, len(sequences), self.trainer.world_size)
        for some in np.array_split(rows, max(1, len(rows) // HISTORIES_AT_A_TIME)):
            yield sequences.stretch(some, sequences.offsets[some], sequences.offsets[some + 1])

    def count_pairs(self, batches: Iterable[SessionBatch]) -> None:
        """Make the spreading activation's co-occurrences from training histories, those of all processes together."""
        items, sessions, first = [], [], 0
        num_ranks = 1 if self._trainer is None else self._trainer.world_size
        for batch in batches:
            histories = cut_sessions(batch, self._gap, self._horizon)
            width = histories.references.shape[1]
            numbers = histories.sessions + torch.arange(len(batch)).unsqueeze(1) * width + first
            items.append(histories.items[histories.is_event])
            sessions.append(numbers[histories.is_event])
            first += len(batch) * width
        # No two processes give a session the same number.
        numbered = torch.cat(sessions) * num_ranks + self.global_rank
        counted = Cooccurrence.of_sessions(self.num_items, gather_rows(torch.cat(items)), gather_rows(numbered))
        self.pairs, self.pair_values = counted.pairs.to(self.device), counted.values.to(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for as many pairs as the checkpoint has."""
        for name in ("pairs", "pair_values"):
            setattr(self, name, torch.empty_like(checkpoint["state_dict"][name], device=self.device))

    def states(self, histories: Histories, vectors: Tensor) -> UserStates:
        """States after every session, from the vectors [B, L, D] of the events' items."""
        pairs = Cooccurrence(self.num_items, self.get_buffer("pairs"), self.get_buffer("pair_values"))
        evoked = spreading(histories, histories.members, pairs)
        states: UserStates = self.model(vectors, histories, evoked)
        return states

    def _padded(self, items: Tensor, vectors: Tensor) -> Tensor:
        """Vectors [B, L, D] of items [B, L] from those of the N there are, zeros where there is none."""
        flat = items.reshape(-1)
        padded = vectors.new_zeros(len(flat), self.embedding_dim)
        return padded.index_copy(0, flat.nonzero().squeeze(1), vectors).view(*items.shape, self.embedding_dim)

    def forward(self, batch: SessionBatch) -> Tensor:
        """Queries [B, D] for what comes after the last session."""
        histories = cut_sessions(batch, self._gap, self._horizon)
        vectors, (places,) = read_once(self.item_vectors, batch.items[histories.is_event])
        states = self.states(histories, self._padded(batch.items, vectors[places]))
        users = torch.arange(len(batch), device=batch.items.device)
        return self.scoring.queries(self._hidden(states, users, histories.last)).float()

    def scores(self, batch: SessionBatch) -> Tensor:
        """See NextItemTask."""
        scores = super().scores(batch)
        if self._memory is None:
            return scores
        return self._memory.raised(scores, cut_sessions(batch, self._gap, self._horizon))

    def _hidden(self, states: UserStates, users: Tensor, sessions: Tensor) -> Tensor:
        """State plus weighted long-term taste [P, D] of users [P] after sessions [P]."""
        return states.users[users, sessions] + self._long_term_weight * states.long_term[users, sessions]

    def training_step(self, batch: SessionBatch, batch_idx: int) -> Tensor:
        """Loss over the items of every session but the first, told from the sessions before it."""
        histories = cut_sessions(batch, self._gap, self._horizon)
        places: Places = histories.members[:, 1:].nonzero(as_tuple=True)
        num_targets = self.samples_per_process(len(places[0]))
        if self._memory is not None:
            loss = self._memory_loss(self._memory, histories, places) / num_targets
        elif self._trains_scores:
            loss = self._score_loss(histories, places, num_targets)
        else:
            loss = self._paper_loss(histories, places) / num_targets
        self.log_loss(loss, len(batch))
        return self.with_penalty(loss)

    def _memory_loss(self, memory: Memory, histories: Histories, places: Places) -> Tensor:
        """Sum over the targets of the cross-entropy of the scores with memory."""
        vectors = self.item_vectors(self._catalogue.ids(histories.items.device))
        read = vectors.index_select(0, histories.items[histories.is_event] - 1)
        states = self.states(histories, self._padded(histories.items, read))
        queries = self.scoring.queries(states.users + self._long_term_weight * states.long_term)
        items = self.scoring.items(vectors)
        return memory.cross_entropy(queries, items, histories, states.presence, places)

    def _score_loss(self, histories: Histories, places: Places, num_targets: float | Tensor) -> Tensor:
        """Mean over the targets of the loss of the scores that rank."""
        users, sessions, events = places

        def encode(vectors: Tensor) -> Tensor:
            return self._hidden(self.states(histories, self._padded(histories.items, vectors)), users, sessions)

        return self.loss_of(histories.items, histories.items[users, events], encode, num_targets)

    def _paper_loss(self, histories: Histories, places: Places) -> Tensor:
        """Sum over the targets: ranking above negatives, and agreement with the target session's embedding."""
        users, sessions, events = places
        targets = histories.items[users, events]
        drawn = self._sampler.draw(targets, self._catalogue).view(-1)
        vectors, (read, wanted, negatives) = read_once(
            self.item_vectors, histories.items[histories.is_event], targets, drawn
        )
        states = self.states(histories, self._padded(histories.items, vectors[read]))
        return self._pairwise_losses(states, users, sessions, vectors[wanted], vectors[negatives])

    def _pairwise_losses(
        self, states: UserStates, users: Tensor, sessions: Tensor, positives: Tensor, negatives: Tensor
    ) -> Tensor:
        """Their sum over the targets, from the vectors [P, D] of targets and negatives."""
        before, target = states.users[users, sessions], states.sessions[users, sessions + 1]
        ranking = self._session_share * pairwise_loss(target, positives, negatives)
        ranking = ranking + (1 - self._session_share) * pairwise_loss(before, positives, negatives)
        long_term = states.long_term[users, sessions]
        ranking = ranking + self._long_term_weight * pairwise_loss(long_term, positives, negatives)
        apart = (1 - F.cosine_similarity(before, target, dim=1)).sum()
        return (1 - self._cosine_share) * ranking + self._cosine_share * apart
