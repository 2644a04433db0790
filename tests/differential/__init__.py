"""Random instruction sequences on the core and on Unicorn, compared.

`python -m tests.differential --seconds N --seed S` runs them. A test that came out of it calls
`agreement.assert_agree`.
"""
