"""RecBole's item-based models, told at the test what sequential models are told: everything before the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import GeneralRecommender, SequentialRecommender
from recbole.model.general_recommender import EASE, ItemKNN
from recbole.utils import InputType
from scipy import sparse


class _OfHistories(SequentialRecommender):
    """An item-based model of RecBole: its similarities from the training part, its scores from the whole history.

    RecBole's general models score from the interactions of the training part: the validation item is left out of the
    list at the test, but is not known. Here it is, as to sequential models. What was taken before is left out of the
    list, as RecBole does for general models. Histories of any length are known whole: the training part by its user,
    and what came after among the last ``MAX_ITEM_LIST_LENGTH`` items.

    Parameters
    ----------
    config : recbole.config.Config
        With the options of the model.
    dataset : recbole.data.dataset.SequentialDataset
        The training part.
    """

    input_type = InputType.POINTWISE
    general: type[GeneralRecommender]

    #: Whether more of a history is known than its last ``MAX_ITEM_LIST_LENGTH`` items.
    knows_whole_history = True

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.similarity = self._similarity(self.general(config, dataset))
        self.taken = dataset.inter_matrix(form="csr").astype(np.float32)  # in the training part
        self.nothing = torch.nn.Parameter(torch.zeros(1))  # the trainer's optimizer needs one
        self.other_parameter_name = ["similarity", "taken"]

    def _similarity(self, model: Any) -> Any:
        """Of items, ``[n_items, n_items]``."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Nothing is trained: 0."""
        return 0.0 * self.nothing.sum()

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items, ``[n, n_items]``."""
        items = interaction[self.ITEM_SEQ]
        n, length = items.shape
        pairs = (np.repeat(np.arange(n), length), items.cpu().numpy().ravel())
        last = sparse.csr_matrix((np.ones(n * length, dtype=np.float32), pairs), (n, self.n_items))
        known = self.taken[interaction[self.USER_ID].cpu().numpy()].maximum(last).toarray()
        known[:, 0] = 0.0
        scores = np.asarray(known @ self.similarity)
        scores[known > 0] = -np.inf
        scores[:, 0] = -np.inf
        return torch.from_numpy(scores).to(items.device)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of each row's own item, ``[n]``."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)


class ItemKNNOfHistories(_OfHistories):
    """ItemKNN (Deshpande and Karypis, TOIS 2004); options ``k`` and ``shrink`` as in RecBole, ``knn_method: item``."""

    general = ItemKNN

    def _similarity(self, model: Any) -> Any:
        return model.w.tocsr()


class EASEOfHistories(_OfHistories):
    """EASE (Steck, WWW 2019); option ``reg_weight`` as in RecBole."""

    general = EASE

    def _similarity(self, model: Any) -> Any:
        return np.asarray(model.item_similarity)
