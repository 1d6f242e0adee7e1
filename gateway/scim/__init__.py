"""SCIM 2.0 (RFC 7643, RFC 7644): the identity provider says who is there and in which groups; access follows."""
