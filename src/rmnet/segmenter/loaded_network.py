"""Weights on a device, prepared to run."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rmnet.config import NetworkUse, RMNetConfig
from rmnet.errors import ConfigError
from rmnet.network import RMNet
from rmnet.prompting import NetworkPrompter
from rmnet.runtime import FusedNetwork
from rmnet.weights import (
    PACKAGED,
    Fingerprint,
    fingerprint,
    load_network,
    push_network,
    save_network,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


class LoadedNetwork:
    """Weights on a device, prepared to run at a precision. Nothing in it changes.

    Args:
        network: The weights. They are taken over: moved to the device and made untrainable.
        device: Device to run on; None for CUDA if available, else the CPU.
        dtype: Precision of the computation: float32, float16 or bfloat16.

    Raises:
        ConfigError: no such device, or another dtype.
    """

    def __init__(
        self,
        network: RMNet,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if dtype not in _PRECISIONS:
            raise ConfigError(f"dtype is {dtype!r}; accepted: {', '.join(map(str, _PRECISIONS))}")
        network = network.to(_device(device)).to(memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)
        self._inference = FusedNetwork(self._network, dtype)
        self._dtype = dtype
        self._fingerprint: Fingerprint | None = None
        self._packaged_prompter = NetworkPrompter(self._inference.device)  # loads nothing yet

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = PACKAGED,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Load weights.

        Args:
            name_or_path: "rmnet-small", the weights inside the package (no network needed); a
                folder with config.json and model.safetensors; a .safetensors file; a .pth file as
                released by the paper's authors; or a hub id "org/name".
            device: Device to run on; None for CUDA if available, else the CPU.
            dtype: Precision of the computation: float32, or float16 / bfloat16 by autocast.
            revision: Branch, tag or commit on the hub.
            cache_dir: Folder for downloads; None for the hub's own cache.
            token: Token for private repositories; None for the stored one, False for none.
            local_files_only: Whether to use the cache only.
            force_download: Whether to download again what is cached.

        Raises:
            WeightsNotFoundError: there are no weights by that name.
            WeightsError: the weights are damaged, or do not fit their configuration.
        """
        network = load_network(
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return cls(network, device=device, dtype=dtype)

    @property
    def config(self) -> RMNetConfig:
        """Configuration of the network."""
        return self._network.config

    @property
    def device(self) -> torch.device:
        """Device that holds the weights."""
        return self._inference.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the computation."""
        return self._dtype

    @property
    def num_parameters(self) -> int:
        """Number of learned parameters; shared ones count once."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @property
    def fingerprint(self) -> Fingerprint:
        """SHA-256 of weights and configuration, independent of file format and device."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self._network)
        return self._fingerprint

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.config.backbone}, {self.num_parameters / 1e6:.1f} M parameters, "
            f"size={self.config.size}, device={self.device}, dtype={self._dtype})"
        )

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write config.json and model.safetensors for `from_pretrained`; return the directory."""
        return save_network(self._network, directory)

    def push_to_hub(self, repo_id: str, **hub_options: Any) -> str:
        """Upload what `save_pretrained` writes, and return the commit's URL.

        Args:
            repo_id: Hub id "org/name".
            hub_options: Options of `rmnet.weights.push_network`: dtype, private, token, revision,
                commit_message.
        """
        return push_network(self._network, repo_id, **hub_options)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the same weights on another device or at another precision."""
        target = self.device if device is None else _device(device)
        network = self._network if target == self.device else copy.deepcopy(self._network)
        return type(self)(network, device=target, dtype=dtype or self._dtype)

    def with_config(self, **fields: Any) -> Self:
        """Return the same weights, shared, to be used in another way.

        Args:
            fields: Fields of `rmnet.config.NetworkUse`, such as `search_region` or `box_margin`.

        Example:
            >>> everywhere = segmenter.with_config(search_region="frame")  # doctest: +SKIP

        Raises:
            ConfigError: another field, or a value that is not accepted.
        """
        accepted = [field.name for field in dataclasses.fields(NetworkUse)]
        others = sorted(set(fields) - set(accepted))
        if others:
            raise ConfigError(
                f"with_config got {', '.join(others)}; accepted: {', '.join(accepted)}. Other "
                "fields belong to the weights: write RMNetSegmenter(rmnet.network.RMNet(config)) "
                "for new ones"
            )
        config = dataclasses.replace(self.config, **fields)
        other = copy.copy(self)
        other._network = self._network.with_config(config)
        other._inference = self._inference.with_config(config)
        other._fingerprint = None
        return other


def _device(device: str | torch.device | None) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if device is None:
        device = "cuda" if has_cuda else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device is {device!r}; accepted: 'cpu', 'cuda', 'cuda:1', ..."
        ) from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if has_cuda else "no CUDA device"
        raise ConfigError(f"device is {device!r}, but torch finds {found}; accepted: 'cpu' or None")
    if chosen.type == "cuda" and chosen.index is None:  # explicit, to compare with other devices
        return torch.device("cuda", torch.cuda.current_device())
    return chosen
