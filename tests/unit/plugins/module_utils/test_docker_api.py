# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server on a real socket."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.module_utils.docker_api import (
    DockerAnswerError,
    DockerApi,
    DockerMissingError,
)


class Engine(BaseHTTPRequestHandler):
    def answer(self) -> None:
        status, text = {
            "/v1.41/info": (200, json.dumps({"Name": "n"})),
            "/v1.41/nodes": (503, json.dumps({"message": "This node is not a swarm manager."})),
            "/v1.41/plain": (500, "page not found"),
            "/v1.41/empty": (200, ""),
        }.get(self.path.partition("?")[0], (200, json.dumps({"path": self.path})))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_DELETE = answer  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass

    def address_string(self) -> str:
        return ""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[DockerApi]:
    path = str(tmp_path / "docker.sock")
    with socketserver.ThreadingUnixStreamServer(path, Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield DockerApi(path, timeout=5)
        server.shutdown()


def test_an_answer_is_decoded(api: DockerApi) -> None:
    assert api.get("/info") == {"Name": "n"}
    assert api.get("/empty") is None
    assert api.request("POST", "/x", body={"a": 1}) == {"a": 1}


def test_filters_are_sent_as_json(api: DockerApi) -> None:
    assert api.get("/tasks", filters={"service": ["a b"]}) == {
        "path": "/v1.41/tasks?filters=%7B%22service%22%3A+%5B%22a+b%22%5D%7D"
    }


def test_a_refusal_is_the_engines_own_word(api: DockerApi) -> None:
    with pytest.raises(DockerAnswerError, match="not a swarm manager") as caught:
        api.get("/nodes")
    assert caught.value.status == 503
    with pytest.raises(DockerAnswerError, match="page not found"):
        api.get("/plain")


def test_no_engine_is_told_with_its_socket(tmp_path: Path) -> None:
    with pytest.raises(DockerMissingError, match=r"docker\.sock"):
        DockerApi(str(tmp_path / "docker.sock")).get("/info")
