"""Type of a table of fixed points."""

from parts import attribute, column, model_link
from pynwb.spec import NWBGroupSpec


def fixed_point_table() -> NWBGroupSpec:
    """Fixed points with their linearisation."""
    return NWBGroupSpec(
        neurodata_type_def="FixedPointTable",
        neurodata_type_inc="DynamicTable",
        default_name="fixed_points",
        doc=(
            "Fixed points F(z) = z of the noise-free dynamics of a model, one row each, for a constant "
            "input. Further columns may be added."
        ),
        attributes=[
            attribute("method", "How they were found: exact, enumerate, newton or another one."),
            attribute("complete", "1 where it is proved that none is missing, 0 otherwise.", "int"),
            attribute("proof", "How that was proved, or what is missing."),
            attribute("bin_size", "Time of one step of F, s; 1 where time is counted in steps.", "float"),
            attribute("unseen", "Expected number of points that the search has not met.", "float"),
        ],
        datasets=[
            column("location", "z.", "point latent"),
            column("residual", "Half the squared distance between F(z) and z.", "point"),
            column("status", "fixed, slow or not converged.", "point", "text"),
            column(
                "kind",
                "stable node, stable focus, saddle, saddle focus, unstable node, unstable focus, centre, "
                "kink or degenerate.",
                "point",
                "text",
            ),
            column("stable", "True where every small push dies out.", "point", "bool"),
            column("jacobian", "dF/dz.", "point latent latent_from"),
            column("eigenvalues_real", "Real part of the eigenvalues of the Jacobian.", "point mode"),
            column("eigenvalues_imag", "Imaginary part of the eigenvalues.", "point mode"),
            column("eigenvectors_real", "Real part of the eigenvectors.", "point latent mode"),
            column("eigenvectors_imag", "Imaginary part of the eigenvectors.", "point latent mode"),
            column(
                "unstable_directions",
                "Number of eigenvalues outside the unit circle; where modes are sorted by modulus, the first "
                "of them are the unstable directions.",
                "point",
                "int",
            ),
            column("time_constants", "Time constant of each mode, s; negative where it grows.", "point mode"),
            column("frequencies", "Frequency of each mode, Hz.", "point mode"),
            column(
                "regions",
                "For piecewise-linear units: how many of its kinks each unit has passed; -1 on a kink.",
                "point unit",
                "int8",
            ),
            column("radius", "The point is proved to lie within this distance, per coordinate.", "point"),
            column("hits", "How many starts of a search ended here.", "point", "int"),
            column("inputs", "The constant input that the point belongs to.", "point input"),
        ],
        links=[model_link("The model whose fixed points these are.")],
    )
