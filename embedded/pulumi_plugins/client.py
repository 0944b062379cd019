"""A blocking client of the Kubernetes API for the provider: kubeconfig in, JSON out.

The official Python client was turned down: importing it takes longer than a whole weight step.
"""

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import yaml

Object = dict[str, Any]
REQUEST_SECONDS = 30


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; one line that says why."""


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """`status` is HTTP's, `reason` Kubernetes' own word."""
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class Unreachable(Exception):
    """The API server cannot be reached at all."""


def _entry(config: Object, kind: str, name: str, origin: str) -> Object:
    for item in config.get(kind + "s") or []:
        if item.get("name") == name:
            found: Object = item.get(kind) or {}
            return found
    known = ", ".join(item.get("name", "?") for item in config.get(kind + "s") or []) or "none"
    raise KubeconfigError(f"{kind} {name!r} is not in {origin}; it has: {known}")


def load_kubeconfig(text_or_path: str | None) -> tuple[Object, str]:
    """The parsed kubeconfig and where it came from: contents, a path, $KUBECONFIG or the default file."""
    origin = text_or_path or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or str(Path.home() / ".kube/config")
    if "\n" in origin or origin.lstrip().startswith("{"):
        text, origin = origin, "the given kubeconfig"
    else:
        try:
            text = Path(origin).expanduser().read_text()
        except OSError as error:
            raise KubeconfigError(f"cannot read kubeconfig {origin}: {error.strerror}") from None
    try:
        config = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        raise KubeconfigError(f"{origin} is neither YAML nor JSON") from None
    if not isinstance(config, dict):
        raise KubeconfigError(f"{origin} is not a kubeconfig")
    return config, origin


class Client:
    """One API server, as one user. Safe for use from several threads."""

    def __init__(self, kubeconfig: str | None, context: str | None = None, cluster: str | None = None) -> None:
        """Raises KubeconfigError for what is missing or not supported here."""
        config, origin = load_kubeconfig(kubeconfig)
        chosen = context or config.get("current-context") or ""
        if not chosen:
            raise KubeconfigError(f"{origin} has no current-context; name one")
        scope = _entry(config, "context", chosen, origin)
        self.namespace = scope.get("namespace") or "default"
        server = _entry(config, "cluster", cluster or scope.get("cluster", ""), origin)
        user = _entry(config, "user", scope.get("user", ""), origin)
        for field in ("exec", "auth-provider"):
            if field in user:
                raise KubeconfigError(
                    f"user {scope.get('user')!r} of {origin} uses {field}, not supported by the offline provider; "
                    "use the official pulumi-kubernetes plugin"
                )
        url = urlsplit(server["server"])
        self._host, self._port = url.hostname or "", url.port or 443
        self._prefix = url.path.rstrip("/")
        self._ssl = self._context(server, user) if url.scheme == "https" else None
        self._headers = {"Accept": "application/json"}
        token = user.get("token")
        if not token and user.get("tokenFile"):
            token = Path(user["tokenFile"]).read_text().strip()
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif user.get("username"):
            pair = f"{user['username']}:{user.get('password', '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        self._local = threading.local()
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}

    @staticmethod
    def _context(server: Object, user: Object) -> ssl.SSLContext:
        authority = server.get("certificate-authority-data")
        context = ssl.create_default_context(
            cafile=server.get("certificate-authority"),
            cadata=base64.b64decode(authority).decode() if authority else None,
        )
        if server.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if user.get("client-certificate-data"):
            # ssl takes files only; this one is readable by its owner alone and gone at once.
            with tempfile.NamedTemporaryFile("wb") as pem:
                pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
                pem.write(base64.b64decode(user["client-key-data"]))
                pem.flush()
                context.load_cert_chain(pem.name)
        elif user.get("client-certificate"):
            context.load_cert_chain(user["client-certificate"], user.get("client-key"))
        return context

    def _connection(self, *, fresh: bool = False) -> http.client.HTTPConnection:
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None or fresh:
            if self._ssl:
                known = http.client.HTTPSConnection(self._host, self._port, timeout=REQUEST_SECONDS, context=self._ssl)
            else:
                known = http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_SECONDS)
            self._local.connection = known
        return known

    def request(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        params: dict[str, str] | None = None,
        kind: str = "",
    ) -> Object:
        """One request; raises ApiError for a refusal and Unreachable when there is no server."""
        url = self._prefix + path + ("?" + urlencode(params) if params else "")
        headers = {**self._headers, "Content-Type": kind or "application/json"}
        data = None if body is None else json.dumps(body)
        for fresh in (False, True):
            connection = self._connection(fresh=fresh)
            try:
                connection.request(method, url, data, headers)
                answer = connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A kept connection that the server closed meanwhile: once more on a new one.
                if fresh:
                    raise Unreachable(f"https://{self._host}:{self._port}: {error or type(error).__name__}") from None
        if answer.status >= 400:
            try:
                said = json.loads(text)
                raise ApiError(answer.status, said.get("reason", ""), said.get("message") or said.get("reason", ""))
            except ValueError:
                raise ApiError(answer.status, "", text.decode(errors="replace").strip()[:300]) from None
        found: Object = json.loads(text) if text else {}
        return found

    def kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        """(plural, namespaced) of a kind, from the server's own discovery; raises ApiError 404 where it has none."""
        base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        known = self._kinds.get(base, {})
        if kind not in known:
            listed = self.request("GET", base)["resources"]
            known = {item["kind"]: (item["name"], item["namespaced"]) for item in listed if "/" not in item["name"]}
            self._kinds[base] = known
        if kind not in known:
            raise ApiError(404, "NotFound", f'no matches for kind "{kind}" in version "{api_version}"')
        return known[kind]

    def path(self, item: Object) -> str:
        """The object's own API path; raises ApiError 404 for an unknown kind."""
        version, meta = item["apiVersion"], item["metadata"]
        plural, namespaced = self.kind(version, item["kind"])
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        middle = f"/namespaces/{quote(meta.get('namespace') or self.namespace)}" if namespaced else ""
        return f"{base}{middle}/{plural}/{quote(meta['name'])}"

    def create(self, item: Object, manager: str, *, dry_run: bool = False) -> Object:
        """Creates the object; raises ApiError 409 where it exists."""
        params = {"fieldManager": manager, **({"dryRun": "All"} if dry_run else {})}
        return self.request("POST", self.path(item).rsplit("/", 1)[0], item, params)

    def get(self, item: Object) -> Object | None:
        """The live object, or None."""
        try:
            return self.request("GET", self.path(item))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, item: Object, manager: str, *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply."""
        params = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Warn"}
        if dry_run:
            params["dryRun"] = "All"
        return self.request("PATCH", self.path(item), item, params, "application/apply-patch+yaml")
