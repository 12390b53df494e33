"""Forward pass of the CPU backend: whole trials, one after the other, in one compiled function.

Trial b occupies rows b · T to b · T + T − 1 of the arrays in `cpu_tables`; particles fill whole vectors.
"""

from __future__ import annotations

import math

from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends import cpu_steps as steps
from nwb_rnn.smc.backends.cpu_compile import call
from nwb_rnn.smc.backends.cpu_steps import NONE, loop


@loop
def transition(advance, network, decay, latents, means, particles):
    """means = a z + V φ(M z + base; h); `particles` is a whole number of blocks."""
    call(advance, network, network.shape[0], latents, means, particles, latents.shape[1])
    for r in range(latents.shape[0]):
        rows.add_scaled(means[r], decay, latents[r])


@loop
def finish(path, first, last):
    """Bins after the last one of a trial repeat it and add nothing."""
    for i in range(first, last):
        path.log_increments[i] = 0
        rows.copy(path.log_weights[i], path.log_weights[i - 1])
        rows.copy(path.weights[i], path.weights[i - 1])
        steps.copy(path.latents[i - 1], path.latents[i])
        steps.count_up(path.ancestors[i])


@loop
def adapted(kernels, block, model, data, proposal, path, lengths, scheme, work, drawing, first, last):
    """Trials `first`..`last` − 1 with a proposal whose weight is known before the draw.

    `lengths` (B,) is how many bins to run; `scheme` is the resampling; `drawing` False takes the
    ancestors that `path` already holds.
    """
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    whole = (particles + block - 1) // block * block
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network, chosen, cumulative, row = work.network, work.grids[0], work.rows[0], work.rows[1]
    for b in range(first, last):
        for i in range(b * bins, b * bins + lengths[b]):
            means, log_weights, weights = path.means[i], path.log_weights[i], path.weights[i]
            if i == b * bins:
                for r in range(rank):
                    rows.fill(means[r], model.initial_mean[r])
            else:
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                transition(kernels[0], network, model.decay[0], path.latents[i - 1], means, whole)
            if scheme == NONE and i > b * bins:
                rows.copy(log_weights, path.log_weights[i - 1])
            else:
                rows.fill(log_weights, -math.log(particles))
            rows.add(log_weights, proposal.weight_constant[i])
            kind = proposal.kind[i]
            steps.adapted_weights(proposal.weight_linear[i], proposal.metric[kind], means, row, log_weights)
            path.log_increments[i] = steps.log_mean_weight(log_weights, weights, particles)
            if drawing:
                steps.draw_ancestors(weights, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            steps.gather(means, path.ancestors[i], chosen)
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                chosen,
                path.latents[i],
            )
        finish(path, b * bins + lengths[b], (b + 1) * bins)


@loop
def weighted(
    kernels, block, model, data, proposal, path, lengths, scheme, work, drawing, counts, first, last
):
    """Trials `first`..`last` − 1 with a proposal that is weighted after the draw.

    `counts` is True for spike counts; the rest as in `adapted`.
    """
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    whole = (particles + block - 1) // block * block
    bins = path.ancestors.shape[0] // lengths.shape[0]
    stride, equal = path.latents.shape[2], -math.log(particles)
    network, readout = work.network, work.readout
    latents, means, difference = work.grids[0], work.grids[1], work.grids[2]
    slots, source = work.places[0], work.places[1]
    scores, before, cumulative, row = work.rows[0], work.rows[1], work.rows[2], work.rows[3]
    for b in range(first, last):
        rows.fill(before, 1 / particles)
        for i in range(b * bins, b * bins + lengths[b]):
            if drawing:
                steps.draw_ancestors(before, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            if i == b * bins:
                steps.fill(source, 0)
                for r in range(rank):
                    means[r, 0] = model.initial_mean[r]
            else:
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                count = steps.gather_parents(
                    path.ancestors[i], path.latents[i - 1], slots, source, latents, block
                )
                transition(kernels[0], network, model.decay[0], latents, means, count)
            steps.gather(means, source, path.means[i])
            kind = proposal.kind[i]
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                path.means[i],
                path.latents[i],
            )
            if steps.any_seen(data.mask[i]):
                steps.set_base(model.readout_inputs, data.filtered[i], readout, rank + 3)
                steps.set_bin(data.observed[i], data.mask[i], readout, rank + 5)
                call(kernels[2], readout, readout.shape[0], path.latents[i], scores, whole, stride)
                constant = steps.constant_terms(data.observed[i], data.mask[i], model.log_noise, counts)
            else:  # as past the end of a trial, where it would be most of the work
                rows.fill(scores, 0.0)
                constant = 0.0
            log_weights, weights = path.log_weights[i], path.weights[i]
            rows.copy(log_weights, scores)
            if scheme == NONE and i > b * bins:
                rows.add_scaled(log_weights, 1.0, path.log_weights[i - 1])
            else:
                rows.add(log_weights, equal)
            rows.add(log_weights, constant + proposal.log_ratio[kind])
            steps.proposal_ratio(
                proposal.metric[kind],
                data.noise[i],
                path.latents[i],
                path.means[i],
                difference,
                row,
                log_weights,
            )
            path.log_increments[i] = steps.log_mean_weight(log_weights, weights, particles)
            rows.copy(before, weights)
        finish(path, b * bins + lengths[b], (b + 1) * bins)
