from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.bundles.bundle import BadBundle, Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.onnx_model import has_external_data


def outside(name: str = "weight") -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph)


def graph(
    *nodes: onnx.NodeProto, initializers: tuple[onnx.TensorProto, ...] = ()
) -> onnx.GraphProto:
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])]
    return helper.make_graph(list(nodes), "g", info, info, list(initializers))


def hidden_in_an_initializer() -> onnx.ModelProto:
    return model(graph(initializers=(outside(),)))


def hidden_in_a_constant() -> onnx.ModelProto:
    return model(graph(helper.make_node("Constant", [], ["x"], value=outside())))


def hidden_in_a_list_of_tensors() -> onnx.ModelProto:
    return model(graph(helper.make_node("Custom", [], ["x"], values=[outside(), outside()])))


def hidden_in_a_branch() -> onnx.ModelProto:
    branch = graph(initializers=(outside(),))
    return model(
        graph(helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch))
    )


def hidden_in_a_sparse_initializer() -> onnx.ModelProto:
    found = model(graph())
    found.graph.sparse_initializer.add().values.CopyFrom(outside())
    return found


def hidden_in_a_function() -> onnx.ModelProto:
    found = model(graph())
    found.functions.add().node.append(helper.make_node("Constant", [], ["x"], value=outside()))
    return found


def hidden_in_training_info() -> onnx.ModelProto:
    found = model(graph())
    found.training_info.add().algorithm.CopyFrom(graph(initializers=(outside(),)))
    return found


def said_by_location_alone() -> onnx.ModelProto:
    tensor = outside()
    tensor.ClearField("external_data")
    return model(graph(initializers=(tensor,)))


def said_by_path_alone() -> onnx.ModelProto:
    tensor = outside()
    tensor.ClearField("data_location")
    return model(graph(initializers=(tensor,)))


@pytest.mark.parametrize(
    "make",
    [
        hidden_in_an_initializer,
        hidden_in_a_constant,
        hidden_in_a_list_of_tensors,
        hidden_in_a_branch,
        hidden_in_a_sparse_initializer,
        hidden_in_a_function,
        hidden_in_training_info,
        said_by_location_alone,
        said_by_path_alone,
    ],
    ids=lambda make: make.__name__,
)
def test_tensors_in_other_files_are_found_wherever_they_hide(
    make: Callable[[], onnx.ModelProto],
) -> None:
    assert has_external_data(make().SerializeToString())


def test_self_contained_models_have_none(bundle: Bundle) -> None:
    assert not has_external_data(bundle.files["image.onnx"])
    assert not has_external_data(bundle.files["text.onnx"])
    inside = numpy_helper.from_array(np.ones(4, np.float32), "external_data location")
    assert not has_external_data(model(graph(initializers=(inside,))).SerializeToString())


@pytest.mark.parametrize("data", [b"\x07", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x05a", b"\xff" * 9])
def test_broken_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="ONNX model"):
        has_external_data(data)


def test_encoders_refuse_a_model_with_external_data(bundle: Bundle, tmp_path: Path) -> None:
    files = {**bundle.files, "image.onnx": hidden_in_an_initializer().SerializeToString()}
    with pytest.raises(BadBundle, match="only self-contained models are loaded"):
        Encoders(replace(bundle, files=files), threads=1)
