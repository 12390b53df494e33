"""Type of latents that a model infers."""

from parts import array, attribute, model_link, number, region, text
from pynwb.spec import NWBDatasetSpec, NWBGroupSpec


def trial_aligned_latents() -> NWBGroupSpec:
    """Latents of trials cut around an event."""
    return NWBGroupSpec(
        neurodata_type_def="TrialAlignedLatents",
        neurodata_type_inc="NWBDataInterface",
        default_name="latents",
        doc=(
            "Latents of trials cut around an event and binned. Where `mask` is 0 a bin lies outside its "
            "trial and its values mean nothing."
        ),
        attributes=[
            attribute("description", "What these latents are, in a sentence."),
            attribute(
                "align_to", "The event at time 0: the name of a column of the table of trials, or words."
            ),
            attribute("kind", "smoothed (given the whole trial), filtered (given the past) or prior."),
            attribute("particles", "Number of particles, where inference used some.", "int"),
            attribute("seed", "Seed of the random numbers of the inference.", "int"),
        ],
        datasets=[
            array("latent_mean", "Mean of the latents.", "trial time latent", required=True),
            array("latent_std", "Standard deviation of the latents.", "trial time latent"),
            array(
                "latent_samples",
                "Draws of the latents: trajectories where `kind` is smoothed, else each bin's own.",
                "trial sample time latent",
            ),
            array("rates", "Expected observation per bin.", "trial time observed_unit"),
            array(
                "outputs",
                "Outputs that the model predicts, such as behaviour, in their own units.",
                "trial time output",
            ),
            array("output_names", "Names of the outputs.", "output", "text"),
            array("mask", "1 where a bin lies inside its trial, 0 elsewhere.", "trial time", "int8"),
            array("log_likelihood", "Log-likelihood of each trial, natural logarithm.", "trial"),
            array("effective_sample_size", "Effective number of particles.", "trial time"),
            array("time", "Centre of each bin, s from the event.", "time", "float64", required=True),
            array("event_time", "Time of the event, s of the session.", "trial", "float64"),
            NWBDatasetSpec(
                name="window",
                doc="Start and stop of the trials, s from the event.",
                dtype="float64",
                dims=["start_and_stop"],
                shape=[2],
                quantity="?",
            ),
            number("bin_size", "Width of a bin, s."),
            array("latent_names", "Names of the latents.", "latent", "text"),
            region("trials", "The trials: rows of their table."),
            array("trial_ids", "Ids of the trials in their table.", "trial", None),
            region("observed_units", "Units of `rates`: rows of the table of units, ROIs or electrodes."),
            array("observed_unit_ids", "Ids of the units of `rates`.", "observed_unit", None),
            text("source", "Where the data came from, as JSON text."),
            text("dropped", "What was left out of the data, and why, as JSON text."),
            text("settings", "Further settings of the alignment and the inference, as JSON text."),
        ],
        links=[model_link("The model that inferred these latents.")],
    )
