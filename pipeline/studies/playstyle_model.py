"""The model of play styles: an autoencoder that learns what of a player's behaviour lasts, and a mixture on its codes.

The autoencoder sees the mean of one random half of a player's pulls and predicts the mean of the other half: what is
chance in a pull cannot be foretold and is not worth a place in the code, so the noise of this denoising is the pulls'
own. The encoder is linear on purpose: what is one Gaussian cloud before it is one behind it, while a bent encoder can
tear a cloud into clusters; only the decoder is bent. The mixture's components share one covariance: a style is a place
where players gather, and free covariances would name players with few pulls, who scatter more, a style of their own.

Every random number is drawn on the CPU from one generator, whatever the device.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.params import Cluster
from pipeline.studies.player_profiles import RoleProfiles

HIDDEN = 16
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-3
AXES_SPLITS = 50
LASTING_SHARE = 0.5
"""An axis of the code is kept if at least this share of its variance between players lasts from pull to pull."""
RESTARTS = 20
RESAMPLE_RESTARTS = 4
EM_ROUNDS = 200
EM_TOLERANCE = 1e-5
"""EM ends when no log-likelihood per point gains more."""
COVARIANCE_FLOOR = 1e-3


def chosen_device(wanted: str) -> torch.device:
    """The device that `cluster.device` means here.

    Raises:
        PipelineError: CUDA was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PipelineError(
            "cluster.device in params.yaml is `cuda`, but torch finds no CUDA device here: "
            "set it to `auto` (CUDA where there is one) or `cpu`"
        )
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


@contextmanager
def reproducible() -> Iterator[None]:
    """One thread and deterministic algorithms inside; as it was before afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


class SplitHalfAutoencoder(nn.Module):
    """Profile (players, behaviours) to code (players, latent_dim), linear, and back, bent."""

    def __init__(self, n_behaviours: int, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = nn.Linear(n_behaviours, latent_dim, bias=False)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, n_behaviours))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def forward(self, profiles: Tensor) -> Tensor:
        """What the other half of the pulls should look like."""
        restored: Tensor = self.decoder(self.encoder(profiles))
        return restored


@dataclass(frozen=True)
class Embedding:
    """How a profile becomes a point: standardised, encoded, turned to the axes that last."""

    mean: Tensor
    scale: Tensor
    """Mean and standard deviation of the players' profiles by behaviour."""
    autoencoder: SplitHalfAutoencoder
    axes: Tensor
    """(latent_dim, axes): whitens the codes and turns them so that the axis that lasts most comes first."""
    lasting: Tensor
    """By axis: the share of its variance between players that lasts from pull to pull."""

    def points(self, profiles: Tensor) -> Tensor:
        """(players, axes), float64."""
        standardised = ((profiles - self.mean) / self.scale).float()
        with torch.no_grad():
            codes: Tensor = self.autoencoder.encoder(standardised)
        return codes.double() @ self.axes


@dataclass(frozen=True)
class Mixture:
    """Gaussian components with one covariance, from left to right along the first axis."""

    weights: Tensor
    means: Tensor
    covariance: Tensor
    log_likelihood: float

    def log_densities(self, points: Tensor) -> Tensor:
        """log(weight x density) by point and component."""
        return _log_densities(points, self.weights[None], self.means[None], self.covariance[None])[0]

    def probabilities(self, points: Tensor) -> Tensor:
        """Of each component, by point."""
        return torch.softmax(self.log_densities(points), dim=1)

    def bic(self, n_points: int) -> float:
        """Schwarz's criterion (1978): smaller is better."""
        k, d = self.means.shape
        free = (k - 1) + k * d + d * (d + 1) // 2
        return -2 * self.log_likelihood + free * math.log(n_points)


class PullSplits:
    """Random halves of each player's pulls and their mean profiles."""

    def __init__(self, rows: RoleProfiles, device: torch.device, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = device
        self.n_players = len(rows.players)
        self.alive_s = torch.from_numpy(rows.alive_s)
        self.weighted = (torch.from_numpy(rows.z) * self.alive_s[:, None]).to(device)
        self.owner = torch.from_numpy(rows.owner)
        # The rows come player by player, so a player's first row is where the earlier players' rows end.
        self.first = torch.cumsum(torch.bincount(self.owner), 0) - torch.bincount(self.owner)

    def lasting(self) -> Tensor:
        """By behaviour: the share of its variance between players that lasts from pull to pull.

        It is estimated as the covariance of two halves over the variance of the whole, so chance can make it negative.
        """
        whole = self.weighted.new_zeros(self.n_players, self.weighted.shape[1])
        whole.index_add_(0, self.owner.to(self.device), self.weighted)
        whole /= torch.bincount(self.owner, self.alive_s).to(self.device)[:, None]
        shared = sum((torch.diagonal(_shared(*self.draw())) for _ in range(AXES_SPLITS)), whole.new_zeros(()))
        return shared / AXES_SPLITS / whole.var(dim=0, correction=0)

    def draw(self) -> Tensor:
        """Mean profiles of a new pair of halves: (2, players, behaviours)."""
        order = torch.argsort(self.owner + torch.rand(len(self.owner), generator=self.generator, dtype=torch.float64))
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order))
        place = (rank - self.first[self.owner]) % 2 * self.n_players + self.owner
        sums = torch.zeros(2 * self.n_players, self.weighted.shape[1], dtype=torch.float64, device=self.device)
        sums.index_add_(0, place.to(self.device), self.weighted)
        seconds = torch.bincount(place, self.alive_s, minlength=2 * self.n_players).to(self.device)
        return (sums / seconds[:, None]).reshape(2, self.n_players, -1)


def fit_embedding(rows: RoleProfiles, settings: Cluster, device: torch.device, generator: torch.Generator) -> Embedding:
    """Train the autoencoder on the players of one role and find the axes that last."""
    profiles = torch.from_numpy(rows.profiles()).to(device)
    mean, scale = profiles.mean(dim=0), profiles.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    splits = PullSplits(rows, device, generator)
    latent_dim = min(settings.latent_dim, len(rows.behaviours))
    autoencoder = SplitHalfAutoencoder(len(rows.behaviours), latent_dim, generator).to(device)
    _train(autoencoder, splits, mean, scale, settings)
    unturned = Embedding(mean, scale, autoencoder, torch.eye(latent_dim, dtype=torch.float64, device=device), mean)
    axes, lasting = _lasting_axes(unturned, profiles, splits)
    return Embedding(mean, scale, autoencoder, axes, lasting)


def _train(
    autoencoder: SplitHalfAutoencoder, splits: PullSplits, mean: Tensor, scale: Tensor, settings: Cluster
) -> None:
    """Both halves foretell each other, in minibatches of players; each epoch has a new split."""
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, total_iters=settings.epochs)
    for _ in range(settings.epochs):
        seen, hidden = ((splits.draw() - mean) / scale).float()
        order = torch.randperm(splits.n_players, generator=splits.generator)
        for batch in torch.split(order.to(splits.device), settings.batch_size):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(autoencoder(seen[batch]), hidden[batch])
            loss = loss + nn.functional.mse_loss(autoencoder(hidden[batch]), seen[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()


def _lasting_axes(unturned: Embedding, profiles: Tensor, splits: PullSplits) -> tuple[Tensor, Tensor]:
    """Whiten the codes, turn them to what two halves of a player's pulls share, keep what lasts (at least one axis).

    The covariance of the two halves' codes, over the variance of the whole's, is the share of an axis's variance
    between players that is theirs and not chance.
    """
    codes = unturned.points(profiles)
    spread, directions = torch.linalg.eigh(codes.T @ codes / len(codes))
    sound = spread > 1e-8 * spread.max()
    whitener = directions[:, sound] / spread[sound].sqrt()
    shared = torch.zeros(whitener.shape[1], whitener.shape[1], dtype=torch.float64, device=codes.device)
    for _ in range(AXES_SPLITS):
        shared += _shared(*(unturned.points(half) @ whitener for half in splits.draw())) / AXES_SPLITS
    lasting, turn = torch.linalg.eigh(shared)
    lasting, turn = lasting.flip(0), turn.flip(1)
    kept = max(1, int((lasting >= LASTING_SHARE).sum()))
    return _oriented(unturned, whitener @ turn[:, :kept]), lasting[:kept]


def _shared(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric covariance between what two halves say of the same players."""
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    return (first.T @ second + second.T @ first) / (2 * len(first))


def _oriented(unturned: Embedding, axes: Tensor) -> Tensor:
    """Each axis's sign so that the behaviour that weighs most in it weighs positively."""
    loadings = unturned.autoencoder.encoder.weight.detach().double().T @ axes
    heaviest = loadings.abs().argmax(dim=0)
    return axes * torch.sign(loadings[heaviest, torch.arange(axes.shape[1], device=axes.device)])


def fit_mixture(points: Tensor, k: int, generator: torch.Generator) -> Mixture:
    """The best of several restarts of EM on the points."""
    everybody = torch.ones(1, len(points), dtype=torch.float64)
    return fit_mixtures(points, everybody, k, generator, RESTARTS)[0]


def fit_mixtures(
    points: Tensor, counts: Tensor, k: int, generator: torch.Generator, restarts: int = RESAMPLE_RESTARTS
) -> list[Mixture]:
    """One mixture per resample, all at once.

    Args:
        points: (points, axes).
        counts: (resamples, points): how often each point is in each resample; on the CPU.
        k: components.
        generator: what the starts are drawn from.
        restarts: starts per resample, of which the most likely end is kept.
    """
    repeated = counts.repeat_interleave(restarts, dim=0)
    starts = _starts(points.cpu(), repeated, k, generator).to(points.device)
    weights, means, covariance, likelihood = _em(points, repeated.to(points.device), starts)
    best = likelihood.reshape(-1, restarts).argmax(dim=1) + restarts * torch.arange(len(counts), device=points.device)
    return [_ordered(weights[i], means[i], covariance[i], float(likelihood[i])) for i in best.tolist()]


def _ordered(weights: Tensor, means: Tensor, covariance: Tensor, log_likelihood: float) -> Mixture:
    order = torch.argsort(means[:, 0])
    return Mixture(weights[order], means[order], covariance, log_likelihood)


def _starts(points: Tensor, counts: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Starting means by k-means++ (Arthur and Vassilvitskii 2007): (resamples, k, axes)."""
    chosen = [points[torch.multinomial(counts, 1, generator=generator)[:, 0]]]
    nearest = torch.full_like(counts, math.inf)
    while len(chosen) < k:
        nearest = torch.minimum(nearest, ((points[None] - chosen[-1][:, None]) ** 2).sum(dim=2))
        # The tiny addend lets a resample of few different points draw one twice instead of failing.
        chances = counts * nearest + 1e-12 * counts
        chosen.append(points[torch.multinomial(chances, 1, generator=generator)[:, 0]])
    return torch.stack(chosen, dim=1)


def _em(points: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Expectation and maximisation for all resamples at once; the last value is the log-likelihood."""
    n_resamples, k, d = means.shape
    total = counts.sum(dim=1)
    weights = torch.full((n_resamples, k), 1 / k, dtype=torch.float64, device=points.device)
    covariance = torch.eye(d, dtype=torch.float64, device=points.device).expand(n_resamples, d, d)
    before = torch.full((n_resamples,), -math.inf, dtype=torch.float64, device=points.device)
    for _ in range(EM_ROUNDS):
        log_densities = _log_densities(points, weights, means, covariance)
        likelihood = (counts * torch.logsumexp(log_densities, dim=2)).sum(dim=1)
        if bool(((likelihood - before).abs() <= EM_TOLERANCE * total).all()):
            break
        before = likelihood
        member = torch.softmax(log_densities, dim=2) * counts[:, :, None]
        mass = member.sum(dim=1) + 1e-10
        weights = mass / mass.sum(dim=1, keepdim=True)
        means = member.transpose(1, 2) @ points / mass[:, :, None]
        covariance = _shared_covariance(points, counts, mass, means)
    return weights, means, covariance, likelihood


def _shared_covariance(points: Tensor, counts: Tensor, mass: Tensor, means: Tensor) -> Tensor:
    """Second moments of all points less those of the means: what is left within the components."""
    everything = (counts[:, None, :] * points.T) @ points
    between = (mass[:, None, :] * means.transpose(1, 2)) @ means
    within = (everything - between) / counts.sum(dim=1)[:, None, None]
    within = (within + within.transpose(1, 2)) / 2
    return within + COVARIANCE_FLOOR * torch.eye(points.shape[1], dtype=torch.float64, device=points.device)


def _log_densities(points: Tensor, weights: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """log(weight x Normal density): (resamples, points, components)."""
    factor = torch.linalg.cholesky(covariance)
    d = points.shape[1]
    inverse = torch.linalg.solve_triangular(
        factor, torch.eye(d, dtype=torch.float64, device=points.device), upper=False
    )
    white_points = points @ inverse.transpose(1, 2)
    white_means = means @ inverse.transpose(1, 2)
    mixed = white_points @ white_means.transpose(1, 2)
    distance = (white_points**2).sum(dim=2)[:, :, None] + (white_means**2).sum(dim=2)[:, None] - 2 * mixed
    log_volume = torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(dim=1)
    constant = torch.log(weights) - log_volume[:, None] - d / 2 * math.log(2 * math.pi)
    log_densities: Tensor = constant[:, None] - distance / 2
    return log_densities


def bootstrap_counts(n_points: int, n_resamples: int, generator: torch.Generator) -> Tensor:
    """How often each point is drawn in each resample with replacement: (resamples, points), float64, on the CPU."""
    drawn = torch.randint(n_points, (n_resamples, n_points), generator=generator)
    counts = torch.zeros(n_resamples, n_points, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def labels(mixture: Mixture, points: Tensor) -> NDArray[np.int64]:
    """The most probable component of each point."""
    found: NDArray[np.int64] = mixture.log_densities(points).argmax(dim=1).cpu().numpy()
    return found
