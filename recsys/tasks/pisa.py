"""Training of PISA: memory activations, and pairwise losses on whole sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.argument_types import typed
from recsys.checkpoints.table_differences import check_state
from recsys.data import SessionBatch, SessionDataModule
from recsys.data.sequences import Sequences
from recsys.losses import FullCrossEntropy, Loss, Sampler, Scoring, UniformSampler, item_side, query_side
from recsys.models.actr import Cooccurrence, Histories, spreading
from recsys.models.checks import check_at_least
from recsys.models.pisa import UserStates
from recsys.sharding.gathering import gather_rows
from recsys.tables import DenseGradient, FullTable, Lookup, TableOptimizer
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.actr_memory import Memory, Places
from recsys.tasks.assignment import Assignment, TableFactory
from recsys.tasks.dense_model import pisa_model
from recsys.tasks.dense_optimizer import DenseOptimizer, OptimizerFactory
from recsys.tasks.item_features import ITEM, ItemCatalogue, item_columns
from recsys.tasks.items import ItemSide
from recsys.tasks.next_item import SessionModelFactory
from recsys.tasks.pairwise import PairwiseLosses
from recsys.tasks.pisa_sessions import cut_sessions
from recsys.tasks.rows import RowSettings, TableOptions
from recsys.tasks.session import SessionTask
from recsys.tasks.session_checks import Needs
from recsys.tasks.tables import TableSettings
from recsys.tasks.total_budget import TotalBudget

HISTORIES_AT_A_TIME = 16


class PISATask(SessionTask):
    """Trains PISA on users' histories; every session is to be foretold from those before it.

    Items are scored with the user's state plus `long_term_weight` times its long-term taste. The paper trains the two
    apart, and a target session's own embedding beside them; a `loss` trains the very scores that rank instead. With a
    `memory_weight` memory is in these scores as it is, which the long-term taste only blurs. Times are needed. Items of
    a history are recommended again unless the data module says otherwise. See SessionTask for evaluation, and for
    several processes.

    Differs from the paper: negatives are drawn from all items, where the authors reject those of the target session;
    sessions have all their items, not ten, and are cut after six hours, not 20 minutes; item vectors are not of unit
    length and start at random; memory in the scores, and a loss of them.

    Args:
        model: factory of a PISA; receives (embedding_dim, max_length).
        schema: of the data; the command line takes it from the data module.
        embedding_dim: width D of every embedding.
        max_length: most sessions of a history, the latest; events of earlier ones are left out.
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

    filters_seen = False

    @typed
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
        if schema is None:
            raise ValueError("PISATask: schema is missing; pass SessionDataModule(...).schema.")
        assignment = Assignment(item_columns(schema, [ITEM]), tables or {"default": FullTable}, {}, exact_up_to)
        rows = RowSettings(table_optimizer or DenseGradient(), table_options or {}, lookup, clip_rows)
        settings = TableSettings(embedding_dim, assignment, rows, TotalBudget(budget_bytes, budget_fraction))
        dense = DenseOptimizer(optimizer, warmup_steps, final_learning_rate_fraction)
        super().__init__(schema, settings, ItemSide(), scoring, dense)
        self.model = pisa_model(model, embedding_dim, max_length)
        self.loss = loss or FullCrossEntropy()
        self._max_sessions = max_length
        self._pairwise = PairwiseLosses(session_share, cosine_share, long_term_weight)
        if scoring is not None and loss is None:
            raise ValueError("PISATask: scoring needs a loss; the paper's pairwise losses are of dot products.")
        if sampler is not None and loss is not None:
            raise ValueError(f"PISATask: sampler is of the paper's pairwise losses, and not of {type(loss).__name__}.")
        self._memory = self._make_memory(memory_weight, memory_succession, loss)
        self._trains_scores = loss is not None
        check_at_least("PISATask", "session_gap", session_gap, 0)
        check_at_least("PISATask", "horizon", horizon, 0)
        self._gap, self._horizon = session_gap, horizon
        self._long_term_weight = long_term_weight
        self._sampler = sampler or UniformSampler(1, per_target=True)
        self.register_buffer("pairs", torch.empty(0, dtype=torch.int64))
        self.register_buffer("pair_values", torch.empty(0))

    def _make_memory(self, weight: float, succession: float, loss: Loss | None) -> Memory | None:
        check_at_least("PISATask", "memory_weight", weight, 0)
        check_at_least("PISATask", "memory_succession", succession, 0)
        if not weight:
            return None
        if not isinstance(loss, FullCrossEntropy) or loss.chunk_items < self.num_items:
            raise ValueError(
                f"PISATask: memory_weight={weight} needs loss: FullCrossEntropy with chunk_items of {self.num_items}, "
                f"all items, or more; got {type(loss).__name__}."
            )
        return Memory(weight, float(self.model.decay), succession)

    def configure_model(self) -> None:
        """See TableTask; what is counted of pairs of items goes by their ids.

        Raises:
            ValueError: if a checkpoint is to be carried over to other ids.
        """
        if self.carried_over is not None:
            raise ValueError(
                "--remap: a PISATask knows by their ids which items share sessions, and not by rows that could be "
                "carried over by value; train it anew."
            )
        super().configure_model()

    def needs(self) -> Needs:
        """Times; max_length is of sessions, which may have any number of events."""
        return Needs(
            task="PISATask",
            num_items=self.num_items,
            reads_item_rows=True,
            times="PISATask cuts sessions by time: prepare the data with times, or use NextItemTask",
            max_length=None,
            visits=(self._gap, self._max_sessions),
        )

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

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """See TableTask; there is room for as many pairs as the checkpoint has."""
        check_state(type(self).__name__, state_dict)
        for name in ("pairs", "pair_values"):
            if name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[name], device=self.device))
        return super().load_state_dict(state_dict, strict, assign)

    def states(self, histories: Histories, vectors: Tensor) -> UserStates:
        """States after every session, from the vectors [B, L, D] of the events' items."""
        pairs = Cooccurrence(self.num_items, self.get_buffer("pairs"), self.get_buffer("pair_values"))
        evoked = spreading(histories, histories.members, pairs)
        states: UserStates = self.model(vectors, histories, evoked)
        return states

    def _cut(self, batch: SessionBatch) -> Histories:
        return cut_sessions(batch, self._gap, self._horizon, self._max_sessions)

    def _padded(self, items: Tensor, vectors: Tensor) -> Tensor:
        """Vectors [B, L, D] of items [B, L] from those of the N there are, zeros where there is none."""
        flat = items.reshape(-1)
        padded = vectors.new_zeros(len(flat), self.embedding_dim)
        return padded.index_copy(0, flat.nonzero().squeeze(1), vectors).view(*items.shape, self.embedding_dim)

    def forward(self, batch: SessionBatch) -> Tensor:
        """Queries [B, D] for what comes after the last session."""
        histories = self._cut(batch)
        vectors = self.item_vectors(histories.items[histories.is_event])
        states = self.states(histories, self._padded(histories.items, vectors))
        users = torch.arange(len(batch), device=batch.items.device)
        return query_side(self.scoring, self._hidden(states, users, histories.last))

    def scores(self, batch: SessionBatch) -> Tensor:
        """See SessionTask."""
        scores = self._scored_items()(self(batch))
        if self._memory is not None:
            scores = self._memory.raised(scores, self._cut(batch))
        return self.without_seen(scores, batch)

    def _hidden(self, states: UserStates, users: Tensor, sessions: Tensor) -> Tensor:
        """State plus weighted long-term taste [P, D] of users [P] after sessions [P]."""
        return states.users[users, sessions] + self._long_term_weight * states.long_term[users, sessions]

    def training_step(self, batch: SessionBatch, batch_idx: int) -> Tensor:
        """Mean loss over the items of every session but the first, told from the sessions before it."""
        histories = self._cut(batch)
        places: Places = histories.members[:, 1:].nonzero(as_tuple=True)
        if self._memory is not None:
            total = self._memory_loss(self._memory, histories, places)
        elif self._trains_scores:
            total = self._score_loss(histories, places)
        else:
            total = self._paper_loss(histories, places)
        num_targets = self.samples_per_process(len(places[0]))
        loss = total / num_targets
        self.log_loss(loss, len(batch))
        return self.finite(self.with_penalty(loss, num_targets))

    def _memory_loss(self, memory: Memory, histories: Histories, places: Places) -> Tensor:
        """Sum over the targets of the cross-entropy of the scores with memory."""
        vectors = self.item_vectors(self.catalogue.ids(histories.items.device))
        read = vectors.index_select(0, histories.items[histories.is_event] - 1)
        states = self.states(histories, self._padded(histories.items, read))
        queries = query_side(self.scoring, states.users + self._long_term_weight * states.long_term)
        return memory.cross_entropy(queries, item_side(self.scoring, vectors), histories, states.presence, places)

    def _score_loss(self, histories: Histories, places: Places) -> Tensor:
        """Sum over the targets of the loss of the scores that rank."""
        users, sessions, events = places
        targets = histories.items[users, events]
        reading = self.loss.read(self.reader, histories.items[histories.is_event], targets)
        states = self.states(histories, self._padded(histories.items, reading.inputs))
        return self.loss(self._hidden(states, users, sessions), reading, self.scoring)

    def _paper_loss(self, histories: Histories, places: Places) -> Tensor:
        """Sum over the targets: ranking above negatives, and agreement with the target session's embedding."""
        users, _, events = places
        targets = histories.items[users, events]
        drawn = self._sampler.draw(targets, self.catalogue)
        if drawn.shape != (len(targets), 1):
            raise ValueError(
                f"PISATask: sampler must draw one negative for every target, [{len(targets)}, 1], as UniformSampler(1, "
                f"per_target=True) does; {type(self._sampler).__name__} gives {list(drawn.shape)}."
            )
        read, positives, negatives = self.reader.together(histories.items[histories.is_event], targets, drawn.view(-1))
        states = self.states(histories, self._padded(histories.items, read))
        return self._pairwise(states, places, positives, negatives)
