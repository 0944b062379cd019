"""Volumes of a Pod as folders of this machine, updated when their sources change.

A folder changes atomically: the files live in a dated folder behind the link `..data`, which is swapped, as the real
kubelet does.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from embedded import groups
from embedded.kube import Object
from embedded.node.kubelet import security
from embedded.node.kubelet.api_cache import ApiStore
from embedded.node.kubelet.environment import UNAVAILABLE, MissingReference, field_value, resource_value

REFRESH_SHARE = 0.8  # of a token's life
READ, READ_WRITE = 0o440, 0o660  # permissions of the group of a volume's files
Files = dict[str, tuple[bytes, int]]  # path in the volume → content, mode


@dataclass
class Volume:
    """One volume: its folder, and its tokens. A volume whose content comes from the API server is read-only."""

    path: Path
    read_only: bool = False
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)  # file → token, renew at


def give_to_group(paths: Iterable[Path], group: int, mode: int) -> None:
    """Give files and folders to `group` with the permissions `mode`, as the real kubelet does it for fsGroup.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/volume_linux.go

    Raises:
        MissingReference: This machine cannot give files to the group.
    """
    for path in paths:
        try:
            if groups.available():  # else it is the containers' own group
                os.chown(path, -1, group, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o7777 | mode | (0o2110 if path.is_dir() else 0))
        except OSError as error:
            raise MissingReference(f"fsGroup {group}: {error.strerror}") from None


def write_atomically(folder: Path, files: Files, group: int | None = None) -> bool:
    """Replace the content of `folder` by `files`, which belong to `group`, atomically.

    Returns:
        False if the content was the same already.

    Raises:
        MissingReference: A path leaves the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    old = data.resolve() if data.is_symlink() else None
    if old is not None and _same(old, files):
        return False
    fresh = folder / f"..{time.time_ns()}"
    fresh.mkdir(mode=0o755)
    for name, (content, mode) in files.items():
        target = fresh / name
        if not target.resolve().is_relative_to(fresh.resolve()):
            raise MissingReference(f"path {name} leaves its volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    if group is not None:
        give_to_group([folder, fresh, *fresh.rglob("*")], group, READ)
    swap = folder / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(data)
    shown = {name.split("/")[0] for name in files}
    for name in shown:
        link = folder / name
        if not os.path.lexists(link):  # else a link, or the place of another mount
            link.symlink_to(f"..data/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in shown:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _same(folder: Path, files: Files) -> bool:
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    if set(there) != {os.path.normpath(name) for name in files}:
        return False
    return all(there[os.path.normpath(name)].read_bytes() == content for name, (content, _) in files.items())


def _make(folder: Path, inner: Path) -> None:
    """Create the folders of the path `inner` in `folder`, and follow no link that a container makes meanwhile."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(folder, flags)
    try:
        mode = os.fstat(handle).st_mode & 0o7777
        for part in inner.parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=handle)
            outer, handle = handle, os.open(part, flags, dir_fd=handle)
            os.close(outer)
        os.fchmod(handle, mode)  # a Pod with fsGroup may write to it, too
    finally:
        os.close(handle)


class Volumes:
    """All volumes of one Pod."""

    def __init__(self, folder: Path, store: ApiStore, capacity: dict[str, str]) -> None:
        """Create volumes below `folder`; `capacity` is the node's, for resource fields."""
        self._folder, self._store, self._capacity = folder, store, capacity
        self._volumes: dict[str, Volume] = {}

    async def sync(self, pod: Object) -> None:
        """Update every volume; one that fails keeps its files, and the others are updated.

        Raises:
            MissingReference: A source does not exist or is not supported.
            Exception: Another of UNAVAILABLE: the API server does not answer, or a file cannot be written.
        """
        failed: Exception | None = None
        for spec in pod["spec"].get("volumes") or []:
            try:
                await self._sync_one(pod, spec)
            except UNAVAILABLE as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def _sync_one(self, pod: Object, spec: Object) -> None:
        name = spec["name"]
        volume = self._volumes.setdefault(name, Volume(self._folder / name))
        group = security.volume_group(pod)
        kind = next((key for key in spec if key != "name"), "emptyDir")
        if kind == "emptyDir":
            if not volume.path.exists():
                volume.path.mkdir(parents=True)
                volume.path.chmod(0o777)
                if group is not None:
                    give_to_group([volume.path], group, READ_WRITE)
        else:
            source = spec[kind]
            mode = source.get("defaultMode", 0o644)
            sources = source.get("sources") or [] if kind == "projected" else [{kind: source}]
            files: Files = {}
            for each in sources:
                files |= await self._files(pod, volume, each, mode)
            write_atomically(volume.path, files, group)
            volume.read_only = True

    def path(self, name: str, sub_path: str = "") -> Path:
        """Return the folder of a volume, or of `sub_path` in it.

        Raises:
            MissingReference: The volume is not declared, or the path leaves it.
        """
        volume = self._volumes.get(name)
        if volume is None:
            raise MissingReference(f'volume "{name}" is not declared')
        if not sub_path:
            return volume.path
        inner = (volume.path / sub_path).resolve()
        if not inner.is_relative_to(volume.path.resolve()):
            raise MissingReference(f"subPath {sub_path} leaves volume {name}")
        if not inner.exists():
            _make(volume.path, inner.relative_to(volume.path.resolve()))
        return inner

    def read_only(self, name: str) -> bool:
        """Return True if no container may write to the volume."""
        return self._volumes[name].read_only

    def renew_at(self) -> float:
        """Return the time of the next token renewal in seconds of `time.time`; 1e18 without tokens."""
        return min((token[1] for volume in self._volumes.values() for token in volume.tokens.values()), default=1e18)

    async def _files(self, pod: Object, volume: Volume, source: Object, mode: int) -> Files:
        kind, given = next(iter(source.items()))
        namespace = pod["metadata"]["namespace"]
        if kind in ("configMap", "secret"):
            name = given.get("name") or given.get("secretName")
            read = self._store.config_map if kind == "configMap" else self._store.secret
            data = await read(namespace, name)
            if data is None:
                if given.get("optional"):
                    return {}
                raise MissingReference(f'{kind.lower()} "{name}" not found')
            return _select(data, given, mode, f"{kind.lower()} {namespace}/{name}")
        if kind == "downwardAPI":
            return {item["path"]: (self._field(pod, item), item.get("mode", mode)) for item in given.get("items") or []}
        if kind == "serviceAccountToken":
            return {given["path"]: ((await self._token(pod, volume, given)).encode(), mode)}
        raise MissingReference(f"volume source {kind} is not supported on this node")

    def _field(self, pod: Object, item: Object) -> bytes:
        if "fieldRef" in item:
            return field_value(pod, item["fieldRef"]["fieldPath"]).encode()
        return resource_value(pod, {}, item["resourceFieldRef"], self._capacity).encode()

    async def _token(self, pod: Object, volume: Volume, given: Object) -> str:
        known = volume.tokens.get(given["path"])
        if known and time.time() < known[1]:
            return known[0]
        seconds = int(given.get("expirationSeconds") or 3600)
        token, end = await self._store.token(pod, given.get("audience"), seconds)
        now = time.time()
        volume.tokens[given["path"]] = (token, now + (end - now) * REFRESH_SHARE)
        return token


def _select(data: dict[str, bytes], given: Object, mode: int, what: str) -> Files:
    if not given.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in given["items"]:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not given.get("optional"):
            raise MissingReference(f"references non-existent key {item['key']} in {what}")
    return files
