// Runs before the first paint, so that a chosen theme never flashes.
(function () {
  try {
    const chosen = localStorage.getItem('fleetprof-theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch (refused) { // storage may be switched off: the system's scheme then holds
    console.debug('theme not kept', refused);
  }
})();
