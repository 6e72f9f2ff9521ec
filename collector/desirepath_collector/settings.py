"""Every setting of the collector, one frozen struct, read arguments > environment > file > default.

The file is `desirepath.toml`; a key it holds that is not known here is an error, because a
misspelt limit that is silently ignored is worse than a start that fails. Environment variables
are `DESIREPATH_` and the setting's name in capitals. Keys and tokens never appear in a repr or a
log. With no source and no reader configured the collector serves a developer: write key `dev`,
read token `dev`, and the loopback address only, which is enforced here and nowhere else.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from desirepath.errors import SettingsError

__all__ = [
    "DEV_KEY",
    "SETTINGS_FILE",
    "Secret",
    "Settings",
    "Source",
    "is_loopback",
    "load_settings",
]

SETTINGS_FILE: Final = "desirepath.toml"
ENV_PREFIX: Final = "DESIREPATH_"
DEV_KEY: Final = "dev"
"""Write key and read token of a collector that nobody configured."""

_MIB: Final = 1024 * 1024


class Secret(str):
    """A string that does not show itself in a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where events come from: one write key, and what is allowed with it."""

    write_key: Annotated[str, Meta(min_length=1, description="The key that clients send.")]
    name: Annotated[str, Meta(description="Stored with every event of this source.")] = ""
    enabled: Annotated[bool, Meta(description="`false` answers 401 as if it did not exist.")] = True
    origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins a browser may send from; `*` means any."),
    ] = ("*",)
    rate_per_s: Annotated[
        float, Meta(ge=0, description="Events a second from this key; 0 means no limit.")
    ] = 0
    rate_per_address_per_s: Annotated[
        float, Meta(ge=0, description="Events a second from one client address; 0 means no limit.")
    ] = 0
    burst_s: Annotated[
        float, Meta(gt=0, description="How many seconds of its rate a source may send at once.")
    ] = 10
    publish: Annotated[
        bool, Meta(description="Whether this key may publish a plan; never for a browser's key.")
    ] = False
    plan: Annotated[
        str, Meta(description="File of the plan its events must follow; empty: the live plan.")
    ] = ""
    user_agent: Annotated[
        bool, Meta(description="Derive browser, system, device and bot from the user agent.")
    ] = True
    campaign: Annotated[
        bool, Meta(description="Derive UTM campaign and referring host from the page.")
    ] = True
    ip: Annotated[
        Literal["drop", "truncate", "keep"],
        Meta(description="What becomes of `context.ip`: /24 of IPv4 and /48 of IPv6 are kept."),
    ] = "truncate"

    def __repr__(self) -> str:
        return f"Source(name={self.name!r}, write_key='***', enabled={self.enabled})"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings. Sizes are bytes, times are seconds, where the name says so."""

    data: Annotated[str, Meta(description="Folder of everything the collector keeps.")] = "./data"
    plan: Annotated[
        str, Meta(description="File of the tracking plan; empty: the last one live.")
    ] = ""
    clickhouse: Annotated[
        str, Meta(description="URL of a ClickHouse server; empty: the embedded one.")
    ] = ""
    database: Annotated[str, Meta(description="ClickHouse database.")] = "desirepath"
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port; 0 takes a free one.")] = 8000
    clickhouse_host: Annotated[
        str,
        Meta(description="Address of the read-only ClickHouse protocol, apart from `host`."),
    ] = "127.0.0.1"
    clickhouse_port: Annotated[
        int,
        Meta(
            ge=0, le=65535, description="Port of the read-only ClickHouse protocol; 0: a free one."
        ),
    ] = 8123
    pii_key: Annotated[
        str, Meta(description="Key for hashing personal data; empty: one made in the data folder.")
    ] = ""

    max_body_bytes: Annotated[
        int, Meta(ge=1, description="Largest request body on the wire; above it 413.")
    ] = 4 * _MIB
    max_inflated_bytes: Annotated[
        int, Meta(ge=1, description="Largest request body after decompression; above it 413.")
    ] = 8 * _MIB
    max_batch_events: Annotated[
        int, Meta(ge=1, description="Most events in a request; above it 413.")
    ] = 5_000
    max_event_bytes: Annotated[
        int, Meta(ge=1, description="Largest event; above it quarantine.")
    ] = 64 * 1024
    max_properties: Annotated[
        int, Meta(ge=1, description="Most properties or traits of an event; above it quarantine.")
    ] = 500
    max_depth: Annotated[
        int, Meta(ge=1, le=64, description="Deepest nesting of an event; above it quarantine.")
    ] = 64
    max_inflight_bytes: Annotated[
        int, Meta(ge=1, description="Bodies held in memory at once; above it 503.")
    ] = 32 * _MIB
    proxies: Annotated[
        int, Meta(ge=0, description="Trusted proxies in front, for addresses in rate limits.")
    ] = 0
    body_timeout_s: Annotated[
        float, Meta(gt=0, description="A request that is not whole by then is answered 408.")
    ] = 20
    idle_timeout_s: Annotated[
        float, Meta(gt=0, description="An idle connection is closed after this time.")
    ] = 75
    stop_timeout_s: Annotated[
        float, Meta(ge=0, description="How long a stop waits for requests and for the spool.")
    ] = 10

    spool_max_bytes: Annotated[
        int, Meta(ge=_MIB, description="Room of the spool; when it is full the answer is 503.")
    ] = 4 * 1024 * _MIB
    load_max_rows: Annotated[int, Meta(ge=1, description="Rows of one insert, at most about.")] = (
        50_000
    )
    load_interval_s: Annotated[
        float, Meta(ge=0, description="Longest wait for more rows before an insert.")
    ] = 1.0
    retry_max_s: Annotated[
        float, Meta(gt=0, description="Longest pause between tries while ClickHouse is away.")
    ] = 5.0
    dedupe_window: Annotated[
        int,
        Meta(ge=0, description="Fewest message ids remembered to drop repeats before an insert."),
    ] = 100_000
    clock_skew_min_s: Annotated[
        float,
        Meta(ge=0, description="A client's clock is corrected when it is off by at least this."),
    ] = 10.0
    log: Annotated[
        Literal["json", "text"], Meta(description="Form of the log lines on standard error.")
    ] = "text"

    sources: dict[str, Source] = msgspec.field(default_factory=dict)
    readers: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def configured(self) -> bool:
        """Whether anybody configured a source; if not, the development key is in use."""
        return bool(self.sources)

    def effective_sources(self) -> tuple[Source, ...]:
        """The sources that are switched on; the development one if none is configured."""
        if not self.sources:
            return (Source(name=DEV_KEY, write_key=DEV_KEY, publish=True),)
        return tuple(
            msgspec.structs.replace(source, name=source.name or name)
            for name, source in self.sources.items()
            if source.enabled
        )

    def effective_readers(self) -> Mapping[str, str]:
        """User name to token of everyone who may read."""
        if self.readers:
            return {name: Secret(token) for name, token in self.readers.items()}
        return {DEV_KEY: Secret(DEV_KEY)} if not self.sources else {}

    def __repr__(self) -> str:
        return f"Settings(data={self.data!r}, host={self.host!r}, port={self.port}, ...)"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(
    arguments: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    arguments
        What the command line said; a value of None counts as not said.
    environ
        Environment; `os.environ` by default.
    file
        The settings file; by default `desirepath.toml` here, if there is one.

    Raises
    ------
    SettingsError
        Naming the setting, where it came from, and what is allowed.
    """
    found = _from_file(file)
    found.update(_from_environment(os.environ if environ is None else environ))
    found.update({key: value for key, value in (arguments or {}).items() if value is not None})
    try:
        settings = msgspec.convert(found, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}", hint="see docs/collector.md") from None
    return _checked(settings)


def _checked(settings: Settings) -> Settings:
    keys = [source.write_key for source in settings.sources.values()]
    if len(set(keys)) != len(keys):
        raise SettingsError("settings: two sources have the same write_key")
    public = [one for one in (settings.host, settings.clickhouse_host) if not is_loopback(one)]
    if public and not settings.configured:
        raise SettingsError(
            f"will not listen on {public[0]} with the development key `{DEV_KEY}`",
            hint="configure a source ([sources.NAME] write_key in desirepath.toml, or "
            "DESIREPATH_WRITE_KEYS=name=key), or listen on 127.0.0.1",
        )
    return settings


def _from_file(file: str | os.PathLike[str] | None) -> dict[str, Any]:
    path = Path(SETTINGS_FILE if file is None else file)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is None:
            return {}
        raise SettingsError(f"there is no settings file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    for key in found:
        if key not in Settings.__struct_fields__:
            raise SettingsError(f"{path}: unknown setting `{key}`", hint=_meant(key))
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or not value:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        # The SDK's variables share the prefix, so an unknown one is an error only where it
        # looks like one of ours misspelt.
        if name in ("write_keys", "read_tokens"):
            pairs = _pairs(variable, value)
            if name == "read_tokens":
                found["readers"] = pairs
            else:
                found["sources"] = {key: {"write_key": token} for key, token in pairs.items()}
        elif name in Settings.__struct_fields__ and name not in ("sources", "readers"):
            found[name] = value
        elif name not in _SDK_VARIABLES and (hint := _meant(name, cutoff=0.85)):
            raise SettingsError(f"unknown environment variable {variable}", hint=hint)
    return found


_SDK_VARIABLES: Final = frozenset({"endpoint", "write_key", "plan", "queue", "debug", "url"})


def _pairs(variable: str, value: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in value.split(","):
        name, equals, secret = part.strip().partition("=")
        if not (name and equals and secret):
            raise SettingsError(f"{variable} must be name=secret[,name=secret...]")
        pairs[name] = secret
    return pairs


def _meant(name: str, cutoff: float = 0.6) -> str | None:
    close = difflib.get_close_matches(name, Settings.__struct_fields__, n=1, cutoff=cutoff)
    return f"did you mean `{close[0]}`?" if close else None
