"""Cases of compliance: what texts are opened for, the turns collected for it, notes about them."""
