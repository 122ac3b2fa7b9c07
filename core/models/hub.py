"""Models by name: a repository of the Hugging Face hub, fetched once into its cache, and from there a folder like any other."""

from __future__ import annotations

from pathlib import Path

from eosin.errors import ConfigError, InputError, MissingDependency

_WANTED = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")
# Checkpoints in other frameworks' formats, and optimiser states: gigabytes that nothing here reads.
_UNWANTED = ("*/*", "*optimizer*", "*training_args*", "tf_model*", "flax_model*")


def fetch_model(name: str, revision: str = "") -> Path:
    """The folder of a repository, from the cache where it is there already.

    Args:
        name: `organisation/repository`; timm's model NAME is `timm/NAME`.
        revision: a commit, branch or tag; the newest when empty.

    Raises:
        ConfigError: `name` is no repository's name.
        InputError: it cannot be had: unknown, gated without consent, or no network.
        MissingDependency: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise MissingDependency("huggingface_hub", "clip") from error
    if name.count("/") != 1:
        raise ConfigError(
            f"name: {name!r} is no repository; names look like organisation/repository, timm's like timm/vit_base_patch16_224"
        )
    wanted, unwanted = list(_WANTED), list(_UNWANTED)
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted, ignore_patterns=unwanted))
    except HFValidationError as error:
        raise ConfigError(f"name: {name!r} is no repository's name: {error}") from error
    except GatedRepoError as error:
        raise InputError(
            f"{name} asks for consent: open https://huggingface.co/{name}, accept its terms, then log in here with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: the hub has no such repository, or does not show it without a login (`hf auth login`)") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"{name} cannot be fetched: {(str(error).splitlines() or ['?'])[0]}. Without a network, fetch it elsewhere and give folder=DIR"
        ) from error
