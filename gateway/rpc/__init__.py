"""The gRPC interface: its services over a session, and who may call them."""

from gateway.rpc.environment import prepare

prepare()
