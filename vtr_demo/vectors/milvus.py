"""Vectors in Milvus, on one machine or many. The only file that imports pymilvus (requirements-scale.txt)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.vectors.base import MEMBER_BITS, RESCORED, NearestVectors, checked, rank_exactly

_AT_ONCE = 1_000
"""Vectors in one request: some 10 MB."""
_MOST = 16_384
"""Results that Milvus returns at most."""


class MilvusVectors:
    """A ``VectorStore`` in a collection of Milvus; what it chooses is scored again from the vectors themselves."""

    def __init__(self, spec: str, width: int) -> None:
        """Open what ``milvus://HOST:PORT[/COLLECTION]`` or ``milvus://FILE.db`` (Milvus Lite) names; one collection a
        library, which is made where there is none."""
        place = spec.removeprefix("milvus://")
        if place == spec or not place:
            forms = "milvus://HOST:PORT/COLLECTION or milvus://FILE.db"
            raise LibraryError(f"{spec!r} names no vector store; use {forms}.")
        try:
            import pymilvus
        except ImportError as error:
            raise LibraryError("Milvus needs `pip install -r requirements-scale.txt`.") from error
        host, _, collection = ("", "", "") if place.endswith(".db") else place.partition("/")
        self.width, self._name = width, collection or "vtr_demo"
        uri = f"http://{host}" if host else place
        try:
            self._client: Any = pymilvus.MilvusClient(uri)
            if not self._client.has_collection(self._name):
                self._create(pymilvus)
            self._client.load_collection(self._name)
        except pymilvus.MilvusException as error:
            raise LibraryError(f"Milvus at {uri} cannot be used ({error.message}); check the address.") from error

    def _create(self, pymilvus: Any) -> None:
        kinds = pymilvus.DataType
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("id", kinds.INT64, is_primary=True)
        schema.add_field("group", kinds.INT64)
        schema.add_field("tag", kinds.INT64)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self.width)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        self._client.create_collection(self._name, schema=schema, index_params=index, consistency_level="Strong")

    # ------------------------------------------------------------------ the five methods
    def add(self, ids: np.ndarray, vectors: np.ndarray, tags: np.ndarray) -> None:
        """Add vectors, see ``VectorStore``."""
        rows = checked(vectors, self.width)
        self.remove(np.unique(np.asarray(ids) >> MEMBER_BITS))
        values = [
            {"id": int(one), "group": int(one) >> MEMBER_BITS, "tag": int(tag), "vector": row}
            for one, row, tag in zip(ids, rows, tags, strict=True)
        ]
        for start in range(0, len(values), _AT_ONCE):
            self._client.insert(self._name, values[start : start + _AT_ONCE])

    def remove(self, groups: np.ndarray) -> None:
        """Remove groups, see ``VectorStore``."""
        for start in range(0, len(groups), _AT_ONCE):
            some = [int(group) for group in groups[start : start + _AT_ONCE]]
            self._client.delete(self._name, filter=f"group in {some}")

    def search(
        self, query: np.ndarray, k: int, *, groups: np.ndarray | None = None, without: np.ndarray | None = None
    ) -> NearestVectors:
        """Search, see ``VectorStore``; certain only where every vector was scored."""
        query, wanted = checked(np.asarray(query)[None], self.width)[0], max(RESCORED, 2 * k)
        some, word = (groups, "in") if groups is not None else (without, "not in")
        allowed = "" if some is None or not len(some) else f"group {word} {[int(group) for group in some]}"
        while True:
            hits: list[Any] = []
            if groups is None or len(groups):
                hits = self._client.search(
                    self._name, [query], filter=allowed, limit=min(wanted, _MOST), output_fields=["vector"]
                )[0]
            every = len(hits) < min(wanted, _MOST)
            ids = np.array([hit["id"] for hit in hits], np.int64)
            rows = np.array([hit["entity"]["vector"] for hit in hits], np.float32).reshape(-1, self.width)
            best = rank_exactly(ids, rows, query, k, certain=every)
            if every or len(best.ids) == k or wanted >= _MOST:
                return best
            wanted *= 4

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Return vectors by id, see ``VectorStore``."""
        there: dict[int, Any] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = [int(one) for one in ids[start : start + _AT_ONCE]]
            for row in self._client.get(self._name, some, output_fields=["vector"]):
                there[int(row["id"])] = row["vector"]
        return np.array([there[int(one)] for one in ids], np.float32).reshape(-1, self.width)

    def count(self) -> int:
        """Return how many vectors there are."""
        return int(self._client.query(self._name, output_fields=["count(*)"])[0]["count(*)"])

    # ------------------------------------------------------------------ keeping in step
    def contents(self) -> dict[int, int]:
        """Return the tag of each group that is there."""
        tags: dict[int, int] = {}
        rows = self._client.query_iterator(self._name, batch_size=_AT_ONCE, output_fields=["group", "tag"])
        while part := rows.next():
            tags |= {int(row["group"]): int(row["tag"]) for row in part}
        rows.close()
        return tags
