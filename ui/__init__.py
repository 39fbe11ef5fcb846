"""What people and scripts meet: the command `relevo`, its lines and its screens."""
