// System updates: the running version, an upload form, its progress, and the last outcome.

function updates() {
  const file = h('input', { type: 'file', accept: '.loka-update' });
  const older = h('input', { type: 'checkbox' });
  const button = h('button', { class: 'main', type: 'submit' }, 'Update');
  const form = h('form', { class: 'card', id: 'hand-over', hidden: true, novalidate: true }, h('h3', {}, 'Update'),
    labelled('file', 'A signed .loka-update for this board', file,
      'The gateway restarts with it, and reverts unless pool and miners return in time.'),
    labelled('older', 'Allow an older version', older),
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    complain('file', file.files.length ? '' : word('needed'));
    if (!file.files.length) return;
    busy(button, async () => {
      form.querySelector(':scope > [role=alert]').textContent = '';
      const done = await ask('PUT', `update?downgrade=${older.checked}`, file.files[0]);
      say(`${done.to} is in slot ${done.slot}; the gateway restarts.`);
    });
  });
  return [h('div', { id: 'system' }), form];
}

function showUpdate({ supported, why_not: whyNot, version, slot, progress, last }) {
  if (!$('system')) return;
  $('hand-over').hidden = !supported || !may('admin');
  if (!supported) return $('system').replaceChildren(h('p', {}, whyNot));
  const phases = {
    receiving: () => `received ${progress.bytes} of ${progress.of || '?'} bytes`, checking: () => 'reading back',
    restarting: () => 'the gateway restarts', trial: () => `on trial for ${progress.seconds_left} s`,
  };
  $('system').replaceChildren(figures([['Version', version || '–'], ['Slot', slot || '–'],
    ['Update', (phases[progress.phase] || (() => 'none'))()]]),
  last ? h('p', { class: last.kept ? 'good' : 'care' },
    `${last.from} to ${last.to}: ${last.kept ? 'kept' : 'reverted'}, ${last.why} (${new Date(last.when * 1000).toLocaleString()})`) : '');
}
