"""Types of fitted models."""

from parts import array, attribute, column, number, region, text
from pynwb.spec import NWBAttributeSpec, NWBDatasetSpec, NWBGroupSpec

MOST_AXES = 6


def parameter_array() -> NWBDatasetSpec:
    """One named array of a network that has no type of its own."""
    return NWBDatasetSpec(
        neurodata_type_def="ParameterArray",
        neurodata_type_inc="NWBData",
        doc="One array of numbers or texts that belongs to a model or a part of it.",
        # Without shapes hdmf reads an array of one element as a scalar.
        dims=[[f"axis_{i}" for i in range(n)] for n in range(1, MOST_AXES + 1)],
        shape=[[None] * n for n in range(1, MOST_AXES + 1)],
        attributes=[
            attribute("description", "What the array is.", required=True),
            NWBAttributeSpec(
                name="axes",
                doc="Name of each axis, in order, where they have names.",
                dtype="text",
                dims=["axis"],
                shape=[None],
                required=False,
            ),
            attribute(
                "scalar",
                "1 where the one value that the array holds is a single number or text; 0 otherwise.",
                "int",
            ),
        ],
    )


def parameter_group() -> NWBGroupSpec:
    """Named arrays that make up one part of a model."""
    return NWBGroupSpec(
        neurodata_type_def="ParameterGroup",
        neurodata_type_inc="NWBDataInterface",
        default_name="further_parameters",
        doc="Named arrays that make up one part of a model, such as the layers of a neural network.",
        attributes=[
            attribute("description", "What the arrays make up, and how they are used.", required=True)
        ],
        datasets=[
            NWBDatasetSpec(
                neurodata_type_inc="ParameterArray", doc="The arrays, told apart by name.", quantity="*"
            )
        ],
    )


def fit_history_table() -> NWBGroupSpec:
    """How a fit went."""
    return NWBGroupSpec(
        neurodata_type_def="FitHistoryTable",
        neurodata_type_inc="DynamicTable",
        default_name="fit_history",
        doc="How a fit went, one row per check. Further columns may be added.",
        datasets=[
            column("iteration", "Iteration (or epoch) of the check.", "check", "int"),
            column("objective", "Objective on the training data.", "check"),
            column(
                "validation", "Objective on data that was held out; NaN where it was not computed.", "check"
            ),
            column("learning_rate", "Learning rate at the check.", "check"),
            column("seconds", "Seconds since the fit began.", "check"),
        ],
    )


def latent_dynamics_model() -> NWBGroupSpec:
    """What every fitted model holds."""
    return NWBGroupSpec(
        neurodata_type_def="LatentDynamicsModel",
        neurodata_type_inc="NWBDataInterface",
        doc=(
            "Abstract part of every fitted model of latent dynamics: what it is, what it was fitted to and "
            "by what. Use one of the types that extend it; other packages may extend it further."
        ),
        attributes=[
            attribute("description", "What the model is, in a sentence."),
            attribute(
                "activation",
                "Function from current to rate: relu max(x-h, 0), clipped_relu max(x+h, 0) - max(x, 0), "
                "tanh tanh(x-h), softplus log(1+exp(x-h)), identity x-h, or another one that `equations` "
                "defines. h is `unit_bias` in a LowRankRNN, 0 in a RateRNN.",
            ),
            attribute(
                "observation",
                "Law of an observation given the state: gaussian, poisson, negative_binomial, or another one "
                "that `equations` defines.",
            ),
            attribute("seed", "Seed of the random numbers of the fit.", "int"),
            attribute("source_identifier", "`identifier` of the NWB file that the model was fitted to."),
            attribute("source_object_id", "`object_id` of the NWB file that the model was fitted to."),
            attribute(
                "source_location",
                "Where that file is to be had: a URL without credentials, a DANDI asset as "
                "DANDI:<dandiset>/<path>, or a file name.",
            ),
        ],
        datasets=[
            text("equations", "The model as equations, in plain text with the names used here."),
            number("bin_size", "Width of a time bin, s."),
            text("configuration", "Every choice made before the fit, as JSON text."),
            text("data_description", "The data that the model was fitted to, as JSON text."),
            NWBDatasetSpec(
                name="software",
                doc="Software used for the fit, one row each: name, version.",
                dtype="text",
                dims=["package", "name_and_version"],
                shape=[None, 2],
                quantity="?",
            ),
            array("score_names", "Names of the scores in `score_values`.", "score", "text"),
            array("score_values", "How well the model does, one number per name.", "score"),
            array("input_names", "Names of the inputs.", "input", "text"),
            region("observed_units", "The observed units: rows of the table of units, ROIs or electrodes."),
            array("observed_unit_ids", "Ids of the observed units in their table.", "observed_unit", None),
        ],
        groups=[
            NWBGroupSpec(
                name="fit_history",
                neurodata_type_inc="FitHistoryTable",
                doc="How the fit went.",
                quantity="?",
            ),
            NWBGroupSpec(
                name="further_parameters",
                neurodata_type_inc="ParameterGroup",
                doc="Parameters that the type of the model has no dataset for.",
                quantity="?",
            ),
        ],
    )


def low_rank_rnn() -> NWBGroupSpec:
    """A network whose connectivity has rank R."""
    return NWBGroupSpec(
        neurodata_type_def="LowRankRNN",
        neurodata_type_inc="LatentDynamicsModel",
        doc=(
            "Stochastic recurrent network of N units with connectivity J = M V of rank R, in discrete time. "
            "Currents x = M z + W v; rates r = activation(x; h); latents z' = a z + V r + e, e ~ "
            "N(0, L L^T), z_0 ~ N(initial_mean, L0 L0^T); filtered inputs v' = a v + (1 - a) u, started at "
            "v_0 = u_0, or "
            "v = u. Affine readout: predictor = C z + d. One-to-one readout: predictor_i = g_i r_i + d_i for "
            "the first D units. The mean observation is link(predictor)."
        ),
        attributes=[
            attribute("readout", "affine (from the latents), one_to_one (from the rates) or network."),
            attribute(
                "link",
                "From predictor to mean observation per bin: identity, softplus log(1+exp(x)) or exp; or one "
                "of these for each observed unit, joined by commas.",
            ),
            attribute(
                "filter_inputs",
                "1 where inputs are low-passed with `decay` before they reach the units; 0 where v = u.",
                "int",
            ),
        ],
        datasets=[
            array("left_vectors", "M: how latents drive units.", "unit latent", required=True),
            array("right_vectors", "V: how rates drive latents.", "latent unit", required=True),
            array("input_weights", "W: how inputs drive units; absent without inputs.", "unit input"),
            array("unit_bias", "h: threshold or bias of each unit.", "unit", required=True),
            number("decay", "a = exp(-bin_size / time constant), between 0 and 1.", required=True),
            array("transition_cholesky", "L: lower Cholesky factor of the noise of a step.", "latent latent"),
            array("initial_mean", "Mean of the first latent.", "latent"),
            array("initial_cholesky", "L0: lower Cholesky factor of its covariance.", "latent latent"),
            array("readout_weights", "C of an affine or network readout.", "observed_unit latent"),
            array("readout_gain", "g of a one-to-one readout.", "observed_unit"),
            array("readout_bias", "d of the readout.", "observed_unit"),
            array("observation_noise", "Variance of Gaussian observations.", "observed_unit"),
            array(
                "dispersion",
                "k of negative binomial observations: variance = mean + mean^2 / k.",
                "observed_unit",
            ),
        ],
        groups=[
            _part("proposal_network", "Network that proposes latents given observations, used in inference."),
            _part(
                "readout_network",
                "Network from latents to the predictor, for readout = network: "
                "predictor = C z + B tanh(A z + b) + d, "
                "with A readout_network_input, b readout_network_bias and B readout_network_output.",
            ),
        ],
    )


def rate_rnn() -> NWBGroupSpec:
    """A network with free connectivity."""
    return NWBGroupSpec(
        neurodata_type_def="RateRNN",
        neurodata_type_inc="LatentDynamicsModel",
        doc=(
            "Recurrent network of N rate units: tau dx/dt = -x + J r + W u + b + noise, r = activation(x), "
            "in Euler steps of `step_size`; output = readout_weights r + readout_bias. What is recorded of a "
            "unit is rate_offset + rate_gain r, in the units of the recording, with r that of the unit that "
            "`observed_index` names, or, where there are `observed_weights`, observed_weights r + "
            "observed_bias."
        ),
        attributes=[
            attribute(
                "cell",
                "rate for the equation above (the default); gru, lstm or another one whose arrays are in "
                "`further_parameters` and whose equations are in `equations`.",
            )
        ],
        datasets=[
            array(
                "recurrent_weights", "J: from each unit (second axis) to each unit (first axis).", "unit from"
            ),
            array("input_weights", "W: how inputs drive units.", "unit input"),
            array("unit_bias", "b: constant current into each unit.", "unit"),
            array(
                "readout_weights",
                "How rates make outputs: behaviour, or what a task asks for, in its own units.",
                "output unit",
            ),
            array("readout_bias", "Constant part of the outputs.", "output"),
            array("output_names", "Names of the outputs.", "output", "text"),
            array("time_constant", "tau, s: one per unit, or a single value for all.", "unit"),
            number("step_size", "Width of an Euler step, s; `bin_size` where it is absent."),
            array(
                "noise",
                "Standard deviation of the noise added to x in each step: one per unit, or one for all.",
                "unit",
            ),
            array(
                "initial_state", "x at the start of a trial, one row per condition (or one row).", "row unit"
            ),
            array(
                "mask", "1 where a connection is allowed, 0 where it is held at zero.", "unit from", "int8"
            ),
            array("unit_sign", "1 excitatory, -1 inhibitory, 0 free.", "unit", "int8"),
            array("unit_region", "Brain region of each unit.", "unit", "text"),
            array(
                "observed_index",
                "Which unit of the network (from 0) each observed unit is; the first ones where absent, "
                "unless `observed_weights` makes them out of other units.",
                "observed_unit",
                "int",
            ),
            array(
                "observed_weights",
                "Where observed units are no units of the network: how rates make theirs.",
                "observed_unit unit",
            ),
            array("observed_bias", "Constant part of what `observed_weights` makes.", "observed_unit"),
            array(
                "rate_gain",
                "Observed = rate_offset + rate_gain rate, in the units of the recording; 1 where absent.",
                "observed_unit",
            ),
            array("rate_offset", "See `rate_gain`; 0 where absent.", "observed_unit"),
        ],
    )


def task_rnn() -> NWBGroupSpec:
    """A network trained on a task."""
    return NWBGroupSpec(
        neurodata_type_def="TaskRNN",
        neurodata_type_inc="RateRNN",
        doc="Recurrent network trained to perform a task instead of to reproduce recorded units.",
        datasets=[
            text("task", "The task in words: inputs, wanted outputs, timing, and what counts as correct."),
            text("task_configuration", "Every number of the task, as JSON text."),
            text("training", "The objective in words: loss, penalties on rates and weights, noise."),
        ],
    )


def _part(name: str, doc: str) -> NWBGroupSpec:
    return NWBGroupSpec(name=name, neurodata_type_inc="ParameterGroup", doc=doc, quantity="?")
