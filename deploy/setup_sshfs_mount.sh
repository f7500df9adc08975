#!/usr/bin/env bash
# The recordings of the VPS as a folder on this machine (macOS, Linux), mounted at every log-in. Safe to run again.
#
#   export VPS_HOST=203.0.113.7 VPS_USER=me          # or VPS_HOST=vps, a Host of ~/.ssh/config
#   deploy/setup_sshfs_mount.sh [--dry-run] [--place DIR] [--remove]
#
#   --dry-run     say what would be done, and do nothing
#   --place DIR   where it is mounted (TAPE_MOUNT, else ~/polymarket)
#   --remove      unmount, and remove what this script made (not the key, not sshfs)
#
# VPS_PATH: the --root of the recorders there, from the user's home (polymarket).
# VPS_PORT, VPS_PEM_KEY: only where ~/.ssh/config does not say them.
set -euo pipefail

fail() { printf '%s\n' "$1" >&2; exit "${2:-1}"; }
say() { printf '%s\n' "$*"; }

dry_run="" remove="" place="${TAPE_MOUNT:-$HOME/polymarket}"
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry_run=1 ;;
    --remove) remove=1 ;;
    --place) [ $# -gt 1 ] || fail "--place needs a folder" 2; place="$2"; shift ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $1 (known: --dry-run, --place DIR, --remove)" 2 ;;
  esac
  shift
done

host="${VPS_HOST:-}" user="${VPS_USER:-}" port="${VPS_PORT:-}" key="${VPS_PEM_KEY:-}" path="${VPS_PATH:-polymarket}"
[ -n "$host$remove" ] || fail "say which machine: export VPS_HOST=... (and VPS_USER=...)" 2
case "$port" in *[!0-9]*) fail "VPS_PORT=$port: expected a number" 2 ;; esac
case "$key" in \~/*) key="$HOME/${key#??}" ;; esac
[ -z "$key" ] || [ -e "$key" ] || fail "there is no key $key (VPS_PEM_KEY); make one by: ssh-keygen -t ed25519 -f $key" 2
case "$place" in \~/*) place="$HOME/${place#??}" ;; /*) ;; *) place="$PWD/$place" ;; esac
# As the system's table of mounts will have it. The folder itself may be a mount that hangs: it is not touched.
if [ -d "$(dirname "$place")" ]; then place="$(cd "$(dirname "$place")" && pwd -P)/$(basename "$place")"; fi
case "$path" in \~) path="" ;; \~/*) path="${path#??}" ;; esac
for word in "$user" "$host" "$path" "$place" "$key" "$HOME"; do
  case "$word" in
    -* | *[[:space:]]* | *[\"\'\<\>\&\;\|\$\`\\,%*?\(\){}\!\#]*) fail "'$word' has signs that the name of a user, host or folder may not have here" 2 ;;
  esac
done

system="$(uname -s)"
bin="$HOME/.local/bin"
agent="$HOME/Library/LaunchAgents/com.polymarket.sshfs.plist"
unit="$HOME/.config/systemd/user/polymarket-sshfs.service"
target="${user:+$user@}$host"
# for ssh; bash 3.2 of macOS takes an empty array for an unset one
login=(-o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=10)
words=""
[ -z "$port" ] || { login+=(-p "$port"); words="$words-p $port "; }
[ -z "$key" ] || { login+=(-i "$key" -o IdentitiesOnly=yes); words="$words-i $key "; }
words="$words$target"

run() { if [ -n "$dry_run" ]; then say "would run: $*"; else "$@"; fi; }
put() { # put FILE MODE: the content is on stdin
  if [ -n "$dry_run" ]; then say "would write $1:"; sed 's/^/    /'; return; fi
  mkdir -p "$(dirname "$1")"
  cat > "$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
  say "wrote $1"
}
has_systemd() { command -v systemctl > /dev/null && systemctl --user show-environment > /dev/null 2>&1; }
enters() { ssh "${login[@]}" -s -- "$target" sftp < /dev/null; }

install_sshfs() {
  if command -v sshfs > /dev/null; then
    say "sshfs is here: $(command -v sshfs)"
    return
  fi
  if [ "$system" = Darwin ]; then
    command -v brew > /dev/null || fail "install Homebrew (https://brew.sh), or macFUSE and sshfs by hand (https://macfuse.io); then run this again"
    run brew install --cask macfuse
    run brew install gromgit/fuse/sshfs-mac
    say "macOS asks to allow the system extension of macFUSE: System Settings, Privacy & Security. If a mount fails, allow it and restart."
    return
  fi
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  if command -v apt-get > /dev/null; then
    run $sudo apt-get update -q
    run $sudo apt-get install -y -q sshfs fuse3
  elif command -v dnf > /dev/null; then
    run $sudo dnf install -y fuse-sshfs
  elif command -v pacman > /dev/null; then
    run $sudo pacman -S --noconfirm sshfs
  else
    fail "install sshfs by your system's packages, and run this again"
  fi
}

let_in() { # a key that the VPS knows, and a host key that we know
  if [ -n "$dry_run" ]; then say "would check that $target lets us in"; return; fi
  local said
  if said="$(enters 2>&1)"; then say "$target lets us in"; return; fi
  case "$said" in
    *"IDENTIFICATION HAS CHANGED"*)
      printf '%s\n' "$said" >&2
      fail "The host key is not the one that is known: somebody may stand in between. Nothing was done." ;;
    *"Host key verification failed"* | *"Permission denied"* | *"Too many authentication failures"*) ;;
    *) fail "cannot reach $target: $(printf '%s\n' "$said" | tail -n 1)" ;;
  esac
  local one found="$key"
  for one in "$HOME/.ssh/id_ed25519" "$HOME/.ssh/id_ecdsa" "$HOME/.ssh/id_rsa"; do
    if [ -z "$found" ] && [ -e "$one" ]; then found="$one"; fi
  done
  [ -n "$found" ] || ssh-keygen -q -t ed25519 -N "" -f "$HOME/.ssh/id_ed25519" -C "tapeline@$(uname -n)"
  say "$target does not let us in yet. Its fingerprint must be compared with the one that the VPS itself tells:"
  say "    there:  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
  say "    here:   ssh-copy-id $words"
  [ -t 0 ] || fail "Do so, then run this again."
  # shellcheck disable=SC2086
  ssh-copy-id $words
  enters || fail "$target does not let us in; see above"
}

if [ "$system" = Darwin ]; then
  options="auto_cache,volname=polymarket,defer_permissions,noappledouble"
  mounted="mount | grep -qF ' on $place ('"
  down="umount '$place' 2> /dev/null || umount -f '$place'"
  stop="launchctl unload '$agent' 2> /dev/null || true"
else
  options="kernel_cache"
  mounted="grep -qF ' $place fuse' /proc/mounts"
  # Whoever waits for one that hangs is let go only when sshfs ends.
  down="fusermount3 -u '$place' 2> /dev/null || { fusermount3 -uz '$place'; pkill -KILL -u '$(id -u)' -f '^sshfs [^ ]+ $place -o ' || true; }"
  stop="systemctl --user stop polymarket-sshfs.service 2> /dev/null || true"
fi
options="reconnect,cache=yes,cache_timeout=1,follow_symlinks,nosuid,nodev,ro,$options"
options="$options,StrictHostKeyChecking=yes,BatchMode=yes,ConnectTimeout=10,ServerAliveInterval=15,ServerAliveCountMax=3"
options="$options${port:+,Port=$port}${key:+,IdentityFile=$key,IdentitiesOnly=yes}"
case "$host" in *:*) source="${user:+$user@}[$host]:$path" ;; *) source="$target:$path" ;; esac

write_commands() {
  put "$bin/mount_polymarket.sh" 755 << SCRIPT
#!/usr/bin/env bash
# Made by setup_sshfs_mount.sh. With FOREGROUND set it stays, as launchd and systemd like it, and the mount is theirs.
set -euo pipefail
export PATH="\$PATH:/opt/homebrew/bin:/usr/local/bin"
mounted() { $mounted; }
answers() { # within 5 s; who asks a mount that hangs cannot be interrupted, so somebody else asks
  ls '$place' > /dev/null 2>&1 &
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 \$! 2> /dev/null || { wait \$!; return; }
    sleep 0.5
  done
  return 1
}
if mounted; then
  if [ -z "\${FOREGROUND:-}" ] && answers; then
    echo '$place is mounted already'
    exit 0
  fi
  $down
fi
mkdir -p '$place'
if [ -n "\$(ls '$place')" ]; then
  echo '$place is not empty, and a mount would hide what it holds: empty it, or set up another folder (--place)' >&2
  exit 1
fi
command=(sshfs '$source' '$place' -o '$options')
[ -z "\${FOREGROUND:-}" ] || exec "\${command[@]}" -f
if "\${command[@]}"; then
  echo '$source is mounted at $place'
else
  # sshfs does not tell what ssh says.
  ssh ${login[*]} -s -- '$target' sftp < /dev/null > /dev/null || true
  echo '$source could not be mounted at $place' >&2
  exit 1
fi
SCRIPT
  put "$bin/unmount_polymarket.sh" 755 << SCRIPT
#!/usr/bin/env bash
# Made by setup_sshfs_mount.sh. Until the next log-in, or mount_polymarket.sh.
set -euo pipefail
[ -n "\${FOREGROUND:-}" ] || { $stop; }
if $mounted; then
  $down
fi
echo '$place is not mounted'
SCRIPT
}

write_agent() {
  put "$agent" 644 << PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>com.polymarket.sshfs</string>
  <key>ProgramArguments</key><array><string>$bin/mount_polymarket.sh</string></array>
  <key>EnvironmentVariables</key><dict><key>FOREGROUND</key><string>1</string></dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><true/>
  <key>ThrottleInterval</key><integer>30</integer>
  <key>StandardErrorPath</key><string>$HOME/Library/Logs/polymarket-sshfs.log</string>
</dict>
</plist>
PLIST
}

write_unit() {
  put "$unit" 644 << UNIT
[Unit]
Description=The recordings of the VPS at $place
StartLimitIntervalSec=0

[Service]
Environment=FOREGROUND=1
ExecStart=$bin/mount_polymarket.sh
ExecStopPost=$bin/unmount_polymarket.sh
Restart=always
RestartSec=30

[Install]
WantedBy=default.target
UNIT
}

is_mounted() { eval "$mounted"; }
wait_for_it() { # wait_for_it LOG: what shows why it is not there
  [ -z "$dry_run" ] || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    if is_mounted; then say "done: $source is mounted at $place"; return; fi
    sleep 1
  done
  fail "$place is not mounted yet; it is tried again every 30 s. Why: $1"
}

if [ -n "$remove" ]; then
  if [ -x "$bin/unmount_polymarket.sh" ]; then run "$bin/unmount_polymarket.sh"; fi
  if [ "$system" != Darwin ] && has_systemd; then run systemctl --user disable polymarket-sshfs.service || true; fi
  run rm -f "$agent" "$unit" "$bin/mount_polymarket.sh" "$bin/unmount_polymarket.sh"
  exit 0
fi

install_sshfs
let_in
write_commands
if [ "$system" = Darwin ]; then
  write_agent
  run launchctl unload "$agent" 2> /dev/null || true
  run launchctl load -w "$agent"
  wait_for_it "$HOME/Library/Logs/polymarket-sshfs.log"
elif has_systemd; then
  write_unit
  run systemctl --user daemon-reload
  run systemctl --user enable polymarket-sshfs.service
  run systemctl --user restart polymarket-sshfs.service
  wait_for_it "journalctl --user -u polymarket-sshfs"
else
  write_unit
  run "$bin/mount_polymarket.sh"
  say "There is no systemd of this user: after a restart, mount again by $bin/mount_polymarket.sh"
fi
case ":$PATH:" in *":$bin:"*) ;; *) say "$bin is not on your PATH: the commands are $bin/mount_polymarket.sh and $bin/unmount_polymarket.sh" ;; esac
