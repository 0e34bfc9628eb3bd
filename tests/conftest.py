"""Makes the shared builders beside this file importable from every test folder."""
