"""Backward pass of the CPU backend: the adjoint of `cpu_forward`, a trial from its last bin to its first."""

from __future__ import annotations

from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends import cpu_steps as steps
from nwb_rnn.smc.backends.cpu_compile import call
from nwb_rnn.smc.backends.cpu_steps import loop


@loop
def pull_transition(retreat, network, on_network, decay, latents, on_means, on_latents, particles):
    """Adjoint of `transition`; returns the gradient on decay."""
    stride = latents.shape[1]
    call(retreat, network, on_network, network.shape[0], latents, on_means, on_latents, particles, stride)
    on_decay = 0.0
    for r in range(latents.shape[0]):
        on_decay += rows.dot(on_means[r], latents[r])
        rows.add_scaled(on_latents[r], decay, on_means[r])
    return on_decay


@loop
def add_initial(on_means, on_initial):
    for r in range(on_means.shape[0]):
        on_initial[r] += rows.total(on_means[r])


@loop
def adapted(
    kernels,
    model,
    data,
    proposal,
    path,
    lengths,
    scheme,
    work,
    on_increments,
    share,
    sums,
    local,
    edges,
    first,
    last,
):
    """Chunks `first`..`last` − 1; chunk c holds trials edges[c]..edges[c + 1] − 1."""
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network = work.network
    on_latents, on_means, chosen, on_chosen = work.grids[0], work.grids[1], work.grids[2], work.grids[3]
    on_weights, on_log_weights, row = work.rows[0], work.rows[1], work.rows[2]
    for c in range(first, last):
        on_network = sums.network[c]
        for b in range(edges[c], edges[c + 1]):
            steps.clear(on_latents)
            rows.fill(on_log_weights, 0.0)
            rows.fill(on_weights, 0.0)
            for i in range(b * bins + lengths[b] - 1, b * bins - 1, -1):
                kind = proposal.kind[i]
                steps.pull_resampled(path.ancestors[i], scheme, share, on_weights, on_log_weights)
                steps.pull_increment(path.weights[i], on_increments[i], on_log_weights, on_weights)
                steps.clear(on_chosen)
                steps.gather(path.means[i], path.ancestors[i], chosen)
                steps.pull_draw(
                    proposal.gain[kind],
                    data.noise[i],
                    chosen,
                    on_latents,
                    local.gain[i],
                    local.offset[i],
                    local.scale[i],
                    on_chosen,
                )
                steps.clear(on_means)
                steps.scatter(on_chosen, path.ancestors[i], on_means)
                local.weight_constant[i] = rows.total(on_weights)
                steps.pull_adapted_weights(
                    proposal.weight_linear[i],
                    proposal.metric[kind],
                    path.means[i],
                    row,
                    on_weights,
                    on_means,
                    local.weight_linear[i],
                    local.metric[i],
                )
                if i == b * bins:
                    add_initial(on_means, sums.initial_mean[c])
                    continue
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                sums.decay[c, 0] += pull_transition(
                    kernels[1],
                    network,
                    on_network,
                    model.decay[0],
                    path.latents[i - 1],
                    on_means,
                    on_latents,
                    particles,
                )
                steps.pull_base(
                    model.input_weights,
                    data.filtered[i - 1],
                    on_network,
                    2 * rank + 1,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i - 1],
                )


@loop
def weighted(
    kernels,
    model,
    data,
    proposal,
    path,
    lengths,
    scheme,
    work,
    on_increments,
    share,
    sums,
    local,
    edges,
    first,
    last,
):
    """As `adapted`, for a proposal that is weighted after the draw."""
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network, readout, stride = work.network, work.readout, path.latents.shape[2]
    latents, on_latents, on_means = work.grids[0], work.grids[1], work.grids[2]
    on_parents, from_score, difference = work.grids[3], work.grids[4], work.grids[5]
    on_weights, on_log_weights, row = work.rows[0], work.rows[1], work.rows[2]
    slots, source = work.places[0], work.places[1]
    for c in range(first, last):
        on_network, on_readout = sums.network[c], sums.readout[c]
        for b in range(edges[c], edges[c + 1]):
            steps.clear(on_latents)
            rows.fill(on_log_weights, 0.0)
            rows.fill(on_weights, 0.0)
            for i in range(b * bins + lengths[b] - 1, b * bins - 1, -1):
                kind = proposal.kind[i]
                steps.pull_increment(path.weights[i], on_increments[i], on_log_weights, on_weights)
                steps.pull_resampled(path.ancestors[i], scheme, share, on_weights, on_log_weights)
                local.log_ratio[i] = rows.total(on_weights)
                steps.set_base(model.readout_inputs, data.filtered[i], readout, rank + 3)
                steps.set_bin(data.observed[i], data.mask[i], readout, rank + 5)
                steps.pull_log_noise(data.mask[i], local.log_ratio[i], sums.log_noise[c])
                call(
                    kernels[3],
                    readout,
                    on_readout,
                    readout.shape[0],
                    path.latents[i],
                    on_weights,
                    from_score,
                    particles,
                    stride,
                )
                steps.pull_base(
                    model.readout_inputs,
                    data.filtered[i],
                    on_readout,
                    rank + 3,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i],
                )
                for r in range(rank):
                    rows.add_scaled(on_latents[r], 1.0, from_score[r])
                steps.clear(on_means)
                steps.pull_proposal_ratio(
                    proposal.metric[kind],
                    path.latents[i],
                    path.means[i],
                    difference,
                    row,
                    on_weights,
                    on_latents,
                    on_means,
                    local.metric[i],
                )
                steps.pull_draw(
                    proposal.gain[kind],
                    data.noise[i],
                    path.means[i],
                    on_latents,
                    local.gain[i],
                    local.offset[i],
                    local.scale[i],
                    on_means,
                )
                if i == b * bins:
                    add_initial(on_means, sums.initial_mean[c])
                    continue
                count = steps.gather_parents(
                    path.ancestors[i], path.latents[i - 1], slots, source, latents, 1
                )
                steps.clear(on_parents)
                steps.scatter(on_means, source, on_parents)
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                sums.decay[c, 0] += pull_transition(
                    kernels[1],
                    network,
                    on_network,
                    model.decay[0],
                    latents,
                    on_parents,
                    on_means,
                    count,
                )
                steps.pull_base(
                    model.input_weights,
                    data.filtered[i - 1],
                    on_network,
                    2 * rank + 1,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i - 1],
                )
                for r in range(rank):
                    for k in range(particles):
                        on_latents[r, k] = on_means[r, slots[k]] if slots[k] >= 0 else 0
