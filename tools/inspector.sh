#!/bin/sh
# Lists and calls the tools with the MCP Inspector's command line, in both eras of the protocol, on an embedded
# database of its own. Needs Node 22 or newer with npm on PATH; fetches the Inspector into a temporary directory.
set -eu

python=${PYTHON:-.venv/bin/python}
inspector=${INSPECTOR:-@modelcontextprotocol/inspector@2.12.0}

case $python in
    */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;;
esac
work=$(mktemp -d "${TMPDIR:-/tmp}/agent-messaging-inspector-XXXXXX")
AGENT_MESSAGING_DATA_DIR=$work/data
export AGENT_MESSAGING_DATA_DIR
cleanup() {
    "$python" -m agent_messaging_mcp db stop || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# npm brings a Node that is new enough, whatever the machine's own is.
npm --prefix "$work" install --no-audit --no-fund --loglevel error node@22 "$inspector"
PATH=$work/node_modules/.bin:$PATH
export PATH

inspect() {
    era=$1
    shift
    mcp-inspector --cli "$python" -m agent_messaging_mcp --agent inspector --protocol-era "$era" "$@"
}

for era in legacy modern; do
    echo "== $era: tools/list --strict"
    inspect "$era" --method tools/list --strict > "$work/list.json"
    test "$(grep -c '"inputSchema"' "$work/list.json")" -eq 14
    for tool in list_agents check_inbox; do
        echo "== $era: $tool"
        inspect "$era" --method tools/call --tool-name "$tool"
    done
    echo "== $era: send to nobody is an error with the next call"
    inspect "$era" --method tools/call --tool-name send --tool-arg to=nobody --tool-arg message=hello || true
    echo "== $era: resources, prompts"
    inspect "$era" --method resources/read --uri messaging://inbox
    inspect "$era" --method prompts/list
done
echo "== modern: a wait that is longer than calls are held (1 s here) is a task, which the Inspector asks after"
AGENT_MESSAGING_MAX_WAIT_SECONDS=1
export AGENT_MESSAGING_MAX_WAIT_SECONDS
inspect modern --method tools/call --tool-name check_inbox --tool-arg wait_seconds=600 > "$work/task.json" &
waiting=$!
sleep 10 # by then it waits; a wait that was held would be over
mcp-inspector --cli "$python" -m agent_messaging_mcp --agent other --protocol-era modern --method tools/call \
    --tool-name send --tool-arg to=inspector --tool-arg message=hello > "$work/sent.json"
wait "$waiting"
grep -q '"text": "hello"' "$work/task.json"
echo "== the Inspector is content in both eras"
