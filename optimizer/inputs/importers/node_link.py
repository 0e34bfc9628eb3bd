"""NetworkX node-link JSON (`nx.node_link_data`), with `links` or `edges`: see attributed_graph."""

from collections.abc import Mapping

from optimizer.errors import InputError
from optimizer.inputs.importers.attributed_graph import Graph, read_graph
from optimizer.inputs.importers.facts import Facts, Pasted

KIND = "node-link JSON"


def recognises(pasted: Pasted) -> bool:
    """Whether the JSON has nodes and links."""
    value = pasted.value
    return isinstance(value, Mapping) and isinstance(value.get("nodes"), list) and _edges(value) is not None


def _edges(value: Mapping[str, object]) -> list[object] | None:
    found = value.get("links", value.get("edges"))
    return found if isinstance(found, list) else None


def read(pasted: Pasted) -> Facts:
    """Return the facts of the graph."""
    value = pasted.value
    assert isinstance(value, Mapping)
    graph = Graph(pasted.where)
    nodes = value["nodes"]
    for node in nodes if isinstance(nodes, list) else []:
        if not isinstance(node, Mapping) or "id" not in node:
            raise InputError(f"{pasted.where}: a node without `id`; write the graph with nx.node_link_data")
        graph.nodes[str(node["id"])] = node
    for edge in _edges(value) or []:
        if not isinstance(edge, Mapping) or "source" not in edge or "target" not in edge:
            raise InputError(
                f"{pasted.where}: a link without `source` and `target`; write the graph with nx.node_link_data"
            )
        graph.add_edge(str(edge["source"]), str(edge["target"]), edge, value.get("directed") is True)
    return read_graph(graph, KIND)
