"""The handler that people write first: FastAPI, pydantic and faiss, nothing else. `benchmarks/serving.py` runs it.

BARE_INDEX=file.faiss BARE_PROBES=32 uvicorn bare_server:app
"""

from __future__ import annotations

import os

import faiss
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
index = faiss.read_index(os.environ["BARE_INDEX"])
probes = faiss.SearchParametersIVF(nprobe=int(os.environ["BARE_PROBES"]))
parameters = faiss.SearchParametersPreTransform(index_params=probes)


class Query(BaseModel):
    """A vector of the index's encoder."""

    vector: list[float]
    k: int = 10


@app.post("/search")
def search(query: Query) -> dict[str, list[float]]:
    """Rows and scores."""
    scores, rows = index.search(np.array([query.vector], dtype=np.float32), query.k, params=parameters)
    return {"rows": rows[0].tolist(), "scores": scores[0].tolist()}


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ready"}
