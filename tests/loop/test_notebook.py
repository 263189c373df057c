"""In a real Jupyter kernel: one display that is updated in place, and tables that are HTML."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

CODE = """
import torch, thalweg as tw
torch.manual_seed(0)
X, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
learner = tw.Learner(torch.nn.Linear(4, 2), optimizer="adam", loss="cross_entropy", device="cpu")
learner.fit((X, y), epochs=1000, batch_size=64, flush_every=1)
"""


@pytest.mark.slow
def test_a_thousand_epochs_are_one_display() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute(CODE)
        messages: list[dict[str, Any]] = []
        while True:
            message = client.get_iopub_msg(timeout=120)
            messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    kinds = [message["msg_type"] for message in messages]
    assert "error" not in kinds, [m["content"] for m in messages if m["msg_type"] == "error"]
    assert kinds.count("display_data") == 1
    assert 1 <= kinds.count("update_display_data") < 200
    assert kinds.count("stream") == 0
    updates = [m["content"] for m in messages if m["msg_type"] == "update_display_data"]
    assert len({update["transient"]["display_id"] for update in updates}) == 1
    assert "epoch 1000/1000" in updates[-1]["data"]["text/plain"]
    result = next(m["content"]["data"] for m in messages if m["msg_type"] == "execute_result")
    assert "<table" in result["text/html"]
