"""Messages of istiod's workload API and of delta xDS, declared here because no Python package has them.

Only the fields that the node uses are declared; protobuf keeps or skips all others.

Source: pkg/workloadapi of istio/istio, and envoy/service/discovery/v3 of Envoy's data-plane API.
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, empty_pb2, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "uint32": _FIELD.TYPE_UINT32,
    "int32": _FIELD.TYPE_INT32,
    "bool": _FIELD.TYPE_BOOL,
}
_PACKAGE = "waypoint_lab.xds"
# Message: "type name number", where `*` before the type marks a repeated field. Enumerations are read as int32.
_DECLARED = {
    "Node": "string id 1, string cluster 2",
    "Status": "int32 code 1, string message 2",
    "DeltaRequest": "Node node 1, string type_url 2, *string subscribe 3, string response_nonce 6, Status error 7",
    "Resource": "google.protobuf.Any resource 2, string name 3",
    "DeltaResponse": "*Resource resources 2, string type_url 4, string nonce 5, *string removed 6",
    "Address": "Workload workload 1",
    "Workload": "string name 1, string namespace 2, *bytes addresses 3, GatewayAddress waypoint 8, "
    "*string authorization_policies 16",
    "GatewayAddress": "NamespacedHostname hostname 1, NetworkAddress address 2",
    "NamespacedHostname": "string namespace 1, string hostname 2",
    "NetworkAddress": "string network 1, bytes address 2",
    "StringMatch": "string exact 1, string prefix 2, string suffix 3, google.protobuf.Empty presence 4",
    "ServiceAccountMatch": "string namespace 1, string service_account 2",
    "Cidr": "bytes address 1, uint32 length 2",
    "Match": "*StringMatch namespaces 1, *StringMatch not_namespaces 2, *StringMatch principals 3, "
    "*StringMatch not_principals 4, *Cidr source_ips 5, *Cidr not_source_ips 6, *Cidr destination_ips 7, "
    "*Cidr not_destination_ips 8, *uint32 destination_ports 9, *uint32 not_destination_ports 10, "
    "*ServiceAccountMatch service_accounts 11, *ServiceAccountMatch not_service_accounts 12",
    "Clause": "*Match matches 2",
    "Group": "*Clause rules 1",
    "Authorization": "string name 1, string namespace 2, int32 scope 3, int32 action 4, *Group groups 5, "
    "bool dry_run 6",
}
_ONE_OF = {"StringMatch"}


def _field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    kind, name, number = text.split()
    field = message.field.add(name=name, number=int(number))
    field.label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{kind}" if "." in kind else f".{_PACKAGE}.{kind}"
    if message.oneof_decl:
        field.oneof_index = 0


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend([any_pb2.DESCRIPTOR.name, empty_pb2.DESCRIPTOR.name])
    for name, fields in _DECLARED.items():
        message = file.message_type.add(name=name)
        if name in _ONE_OF:
            message.oneof_decl.add(name="kind")
        for text in fields.split(","):
            _field(message, text)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _DECLARED
    }


_made = _classes()
Node, DeltaRequest, DeltaResponse = _made["Node"], _made["DeltaRequest"], _made["DeltaResponse"]
Address, Authorization, Status = _made["Address"], _made["Authorization"], _made["Status"]
