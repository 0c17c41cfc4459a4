"""A small certificate authority: what `runner-gateway pki` makes, revokes and renews."""
