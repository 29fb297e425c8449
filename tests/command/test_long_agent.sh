#!/bin/bash
# test_agent.sh with a storm of a minute: 200 clients at once, some killed in the middle.
exec bash "${MEMGUARD_SOURCE:?}/tests/command/test_agent.sh" "${1-}" 60
