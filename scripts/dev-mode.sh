#!/usr/bin/env bash
# The containers of docker-compose.yml with the code of this checkout: edit, then ./scripts/dev-mode.sh restart.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/dev-mode.sh start | status | logs [SERVICE] | restart [SERVICE] | stop

  start    build what is missing, and start everything with the code of this checkout mounted
  status   what runs, and what the recorder says of itself
  logs     follow the log (of the recorder, unless a service is named)
  restart  run the code as it is now
  stop     stop everything; tapes and tables stay in their volumes
TEXT
}

if command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose=(docker-compose)
else
  case "${1:-}" in start | status | logs | restart | stop) ;; *) usage; exit 2 ;; esac
  echo "Docker with its compose plugin is not installed; without it: market-record --help" >&2
  exit 1
fi
compose+=(-f docker-compose.yml -f docker-compose.dev.yml)

if [ "${1:-}" = start ] && [ ! -f .env ]; then
  echo "there is no .env: cp .env.example .env, and choose passwords" >&2
  exit 2
fi

case "${1:-}" in
  start) "${compose[@]}" up --detach --build ;;
  status)
    "${compose[@]}" ps
    curl --silent --max-time 5 http://127.0.0.1:8080/health || echo "the recorder does not answer on port 8080"
    echo
    ;;
  logs) "${compose[@]}" logs --follow --tail 100 "${2:-recorder}" ;;
  restart) "${compose[@]}" restart "${2:-recorder}" ;;
  stop) "${compose[@]}" down ;;
  *) usage; exit 2 ;;
esac
