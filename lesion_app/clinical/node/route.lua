-- Orthanc sends every stable CT series to the node. For Orthanc 1.10.1 and later:
--   "LuaScripts": ["route.lua"], "DicomModalities": {"lesion-node": ["ULD", "127.0.0.1", 11112]}

local NODE = 'lesion-node'

-- What the node accepts. Its own results (SR, SEG, key images) are other classes, so nothing goes round in circles.
local ROUTED = {
  ['1.2.840.10008.5.1.4.1.1.2'] = true,    -- CT Image Storage
  ['1.2.840.10008.5.1.4.1.1.2.1'] = true,  -- Enhanced CT Image Storage
}

-- Jobs under way (job -> series) and series whose job failed, for example because the node was away.
local under_way = {}
local failed = {}

local function route(series)
  -- SendToModality takes instances only (1.10.1); the REST route takes the series as one job, on one association.
  local answer = RestApiPost('/modalities/' .. NODE .. '/store',
                             DumpJson({ Resources = { series }, Synchronous = false }, true), false)
  local job = answer and ParseJson(answer)
  if job and job['ID'] then
    under_way[job['ID']] = series
    failed[series] = nil
  else
    failed[series] = true
    print('lesion-node: could not be asked for; is it in DicomModalities?')
  end
end

local function route_failed()
  local again = failed
  failed = {}
  for series in pairs(again) do
    route(series)
  end
end

function OnStableSeries(series, tags, metadata)
  route_failed()
  local instances = ParseJson(RestApiGet('/series/' .. series, false))['Instances']
  local class = RestApiGet('/instances/' .. instances[1] .. '/metadata/SopClassUid', false)
  if ROUTED[class] then
    route(series)
  end
end

function OnJobSuccess(job)
  under_way[job] = nil
end

function OnJobFailure(job)
  if under_way[job] then
    failed[under_way[job]] = true
    under_way[job] = nil
  end
end

-- Called every few seconds by Orthanc 1.11.1 and later; before, failed series go out with the next stable one.
function OnHeartBeat()
  route_failed()
end
