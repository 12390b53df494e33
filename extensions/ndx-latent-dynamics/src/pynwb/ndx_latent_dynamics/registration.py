"""Classes made from the specification, with methods of our own on top.

Constructor, fields and documentation of each class come from the YAML files, so that there is one place
that says what a type holds. The class given to `make_class` adds methods and no fields.
"""

from typing import Any

from pynwb import get_class, register_class


def make_class(name: str, methods: type = object) -> Any:
    """The class of the type `name`, with the methods of the class `methods`, registered with pynwb."""
    namespace = "ndx-latent-dynamics"
    generated = get_class(name, namespace)
    bases = (generated,) if methods is object else (methods, generated)
    made = type(name, bases, {"__doc__": generated.__doc__, "__module__": "ndx_latent_dynamics"})
    register_class(name, namespace, made)
    return made
