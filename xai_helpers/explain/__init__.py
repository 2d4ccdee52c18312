"""One function for each technique; each returns an ``Attribution``.

========================  =========================================  ================
function                  asks                                       file
========================  =========================================  ================
``activations``           what does a layer put out?                 ``activity.py``
``occlusion``             what is lost when a patch is covered?      ``occluding.py``
``gradients``             which pixels would change the score?       ``saliency.py``
``smoothgrad``            the same, averaged over noisy copies       ``saliency.py``
``integrated_gradients``  which pixels have what share of it?        ``path.py``
``shap_gradients``        what sets it apart from other photos?      ``shapley.py``
``grad_cam``              where are the channels that speak for it?  ``cam.py``
========================  =========================================  ================

All of them take a ``Classifier``, an image as ``load_image`` takes it, and a target: a
label, a WordNet id, an index, or None for the network's first answer.
"""

from .activity import activations
from .attribution import Attribution
from .cam import grad_cam
from .engine import Cancelled
from .incremental import savings
from .occluding import occlusion
from .path import integrated_gradients
from .saliency import gradients, smoothgrad
from .shapley import shap_gradients

TECHNIQUES = {
    function.__name__: function
    for function in (
        activations,
        occlusion,
        gradients,
        smoothgrad,
        integrated_gradients,
        shap_gradients,
        grad_cam,
    )
}

__all__ = [
    "TECHNIQUES",
    "Attribution",
    "Cancelled",
    "activations",
    "grad_cam",
    "gradients",
    "integrated_gradients",
    "occlusion",
    "savings",
    "shap_gradients",
    "smoothgrad",
]
