# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's engine API over its local socket, with nothing but Python's library."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlencode

SOCKET = "/run/docker.sock"
# Docker 20.10 and later speak it (docs.docker.com/reference/api/engine, version history).
VERSION = "v1.41"


class DockerMissingError(Exception):
    """Nothing listens on the socket; the message says why."""


class DockerAnswerError(Exception):
    """The engine refused; the message is its own, ``status`` the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerApi:
    """Requests to one engine; each opens a connection of its own."""

    def __init__(self, path: str = SOCKET, timeout: float = 60) -> None:
        self._path, self._timeout = path, timeout

    def get(self, path: str, **query: Any) -> Any:
        """The decoded JSON answer; values of the query that are dicts are sent as JSON, as filters are.

        Raises DockerMissingError and DockerAnswerError.
        """
        return self.request("GET", path, query=query)

    def request(self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """As ``get``, for any method, with a JSON body."""
        pairs = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in (query or {}).items()}
        target = f"/{VERSION}{quote(path)}" + (f"?{urlencode(pairs)}" if pairs else "")
        connection = _Connection(self._path, self._timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, body=payload, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerMissingError(f"{self._path}: {error}") from error
        finally:
            connection.close()
        try:
            decoded = json.loads(text) if text.strip() else None
        except ValueError:
            decoded = {"message": text.decode(errors="replace").strip()}
        if answer.status >= http.client.BAD_REQUEST:
            raise DockerAnswerError(answer.status, str((decoded or {}).get("message", answer.reason)))
        return decoded
