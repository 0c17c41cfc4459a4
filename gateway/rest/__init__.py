"""The REST interface: routes, their types, and the OpenAPI document made of both."""
