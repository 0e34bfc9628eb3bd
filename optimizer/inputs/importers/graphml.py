"""GraphML (`nx.write_graphml`, yEd): keys, nodes and edges; what they mean: attributed_graph."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from optimizer.inputs.importers.attributed_graph import Graph, read_graph
from optimizer.inputs.importers.facts import Facts, Pasted
from optimizer.inputs.importers.text import parse_xml

KIND = "GraphML"


def recognises(pasted: Pasted) -> bool:
    """Whether the text is GraphML."""
    return re.search(r"<(?:\w+:)?graphml[\s>]", pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the facts of the graph."""
    root, findings = parse_xml(pasted.text, pasted.where, "graphml")
    names = {key.get("id", ""): key.get("attr.name", key.get("id", "")) for key in root.iter("key")}
    graph = Graph(pasted.where, findings=list(findings))
    for node in root.iter("node"):
        graph.nodes[node.get("id", "")] = _attributes(node, names)
    outer = root.find("graph")
    by_default = outer is not None and outer.get("edgedefault") == "directed"
    for edge in root.iter("edge"):
        is_directed = edge.get("directed", str(by_default)).lower() == "true"
        graph.add_edge(edge.get("source", ""), edge.get("target", ""), _attributes(edge, names), is_directed)
    return read_graph(graph, KIND)


def _attributes(element: ET.Element, names: Mapping[str, str]) -> dict[str, object]:
    return {names.get(data.get("key", ""), ""): (data.text or "").strip() for data in element.findall("data")}
